// Speaks to a server through an official client, unmodified, and tells what the client tells it.
//
//   node driver.mjs PATH-OF-THE-CLIENT
//
// Orders come as lines of JSON on stdin: open, follow, unfollow. What happens goes out as
// lines of JSON on stdout.
import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'

const { Stream } = await import(pathToFileURL(process.argv[2]))

const say = (what) => process.stdout.write(`${JSON.stringify(what)}\n`)

// A refused connection is an error that the client leaves to whoever started the process.
process.on('uncaughtException', (error) => say({ failed: error.message }))

const followed = new Map()
let stream = null

const orders = {
  open({ url, protocols }) {
    stream = new Stream(url, { protocols })
  },
  follow({ as, name, group, id, sort, events = [] }) {
    const subscription =
      id === undefined
        ? stream.subscribeGroup(name, group, sort)
        : stream.subscribeItem(name, group, id)
    subscription.addChangeListener((state) => say({ as, state }))
    for (const type of events) subscription.onEvent(type, (data) => say({ as, event: type, data }))
    followed.set(as, subscription)
  },
  unfollow({ as }) {
    followed.get(as).close()
  },
}

for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line)
  orders[order.do](order)
}
process.exit()
