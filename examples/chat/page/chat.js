// The page: asks for a name, opens one connection, and follows the room that is named in its address.
import { Stream } from './stream-client.js'
import * as view from './view.js'

const ROOMS = ['lobby', 'garden', 'library']
const TYPING_EVERY = 2000 // ms: who types says so no oftener
const TYPING_LASTS = 4000 // ms: who says no more has stopped

const random = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), hex).join('')
const hex = (byte) => byte.toString(16).padStart(2, '0')

const me = { window: random(), name: sessionStorage.getItem('name') }
while (!me.name) me.name = await askForName(localStorage.getItem('name') ?? '')
view.showName(me.name)
view.onRename(async () => {
  if (await askForName(me.name)) location.reload() // the name is part of the connection
})

// The official client, which connects again by itself, and joins again what was joined. Ours is
// only to say so.
class Line extends Stream {
  onSocketOpen() {
    view.showLine('')
    super.onSocketOpen()
  }

  onSocketClose() {
    view.showLine('The connection is lost; trying again …')
    super.onSocketClose()
  }
}

const scheme = location.protocol === 'https:' ? 'wss:' : 'ws:'
const line = new Line(`${scheme}//${location.host}/?name=${encodeURIComponent(me.name)}`)

let leave = () => {}
window.addEventListener('hashchange', enter)
enter()

function enter() {
  leave()
  const room = location.hash.slice(1) || ROOMS[0]
  view.showRoom(room, ROOMS)

  // Each is told whole whenever something in it changed: [{id, …}, …]. The client keeps the order
  // that it is asked for.
  const people = line.subscribeGroup('people', room, 'name')
  people.addChangeListener((them) => view.showPeople(them))
  const messages = line.subscribeGroup('chat', room, 'at')
  messages.addChangeListener((them) => {
    view.showMessages(them, me.name)
    typists.forget(them.at(-1)?.name)
  })

  const typists = keepTypists()
  messages.onEvent('typing', (who) => {
    if (who.window !== me.window) typists.note(who.name)
  })

  leave = () => {
    messages.close()
    people.close()
    typists.end()
  }
  const path = `rooms/${encodeURIComponent(room)}`
  const noteTyping = () => atMostEvery(TYPING_EVERY, () => post(`${path}/typing`, me).catch(() => {}))
  let tell = noteTyping()
  view.onTyping(() => tell())
  let tried = null // what was posted, and perhaps not taken: sent again, it is the same message
  view.onSend(async (text) => {
    if (tried?.text !== text) tried = { id: random(), name: me.name, text }
    await post(`${path}/messages`, tried)
    tried = null
    tell = noteTyping()
  })
}

async function post(path, body) {
  const headers = { 'content-type': 'application/json' }
  let answer
  try {
    answer = await fetch(path, { method: 'POST', headers, body: JSON.stringify(body) })
  } catch {
    throw new Error('This was not sent: there is no connection. Try again in a moment.')
  }
  if (!answer.ok) {
    const { error, details = [] } = await answer.json()
    const more = details.map(({ path, message }) => `${path} ${message}`).join(', ')
    throw new Error(more ? `${error}: ${more}` : error)
  }
}

// Who types, as far as they have said so a moment ago.
function keepTypists() {
  const timers = new Map()
  const forget = (name) => {
    clearTimeout(timers.get(name))
    if (timers.delete(name)) view.showTypists([...timers.keys()])
  }
  const note = (name) => {
    clearTimeout(timers.get(name))
    timers.set(name, setTimeout(forget, TYPING_LASTS, name))
    view.showTypists([...timers.keys()])
  }
  const end = () => [...timers.keys()].forEach(forget)
  return { note, forget, end }
}

function atMostEvery(pause, act) {
  let last = -Infinity
  return () => {
    if (performance.now() - last < pause) return
    last = performance.now()
    act()
  }
}

// The name is this window's; the next new one is proposed the same.
async function askForName(proposal) {
  const name = await view.askForName(proposal)
  if (name) {
    sessionStorage.setItem('name', name)
    localStorage.setItem('name', name)
  }
  return name
}
