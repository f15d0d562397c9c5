// What is seen. Everything that somebody said or is called is set as text, never as HTML.
const at = (id) => document.getElementById(id)
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: 'short' })
const whole = new Intl.DateTimeFormat(undefined, { dateStyle: 'full', timeStyle: 'medium' })

const shown = new Map() // id → the list's item for a message
let room = null

export function showRoom(name, rooms) {
  room = name
  document.title = `#${name}`
  at('room').textContent = name
  at('rooms').replaceChildren(
    ...[...new Set([...rooms, name])].map((each) => {
      const link = make('a', { href: `#${each}`, textContent: each })
      if (each === name) link.setAttribute('aria-current', 'page')
      return link
    }),
  )
  shown.clear()
  at('messages').replaceChildren()
  at('empty').hidden = true
  showPeople([])
  showTypists([])
  at('problem').textContent = ''
  at('text').focus()
}

export function showMessages(messages, me) {
  const [log, list] = [at('log'), at('messages')]
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40
  const now = new Set(messages.map((message) => message.id))
  for (const [id, item] of shown) {
    if (!now.has(id)) {
      item.remove()
      shown.delete(id)
    }
  }
  let last = null // the item before
  for (const message of messages) {
    const item = shown.get(message.id) ?? makeMessage(message)
    shown.set(message.id, item)
    item.querySelector('.text').textContent = message.text
    item.classList.toggle('own', message.name === me)
    item.classList.toggle('more', last?.dataset.name === message.name)
    const next = last === null ? list.firstChild : last.nextSibling
    if (next !== item) list.insertBefore(item, next)
    last = item
  }
  at('empty').hidden = messages.length > 0
  if (atEnd) log.scrollTop = log.scrollHeight // who has scrolled up reads, and stays there
}

function makeMessage({ name, at }) {
  const when = new Date(at)
  const item = make('li', {}, [
    make('div', { className: 'name', textContent: name }),
    make('p', { className: 'text' }),
    make('time', { dateTime: at, title: whole.format(when), textContent: clock.format(when) }),
  ])
  item.dataset.name = name
  return item
}

export function showPeople(people) {
  at('count').textContent = people.length
  at('people').replaceChildren(...people.map(({ name }) => make('li', { textContent: name })))
}

export function showTypists(names) {
  const many = names.length > 1
  const said = many ? `${names.slice(0, -1).join(', ')} and ${names.at(-1)} are` : `${names} is`
  at('typing').textContent = names.length ? `${said} typing …` : ''
}

export function showName(name) {
  at('rename').textContent = name
  at('rename').setAttribute('aria-label', `You are ${name}: change your name`)
}

// Words about the connection; none when it is there.
export function showLine(words) {
  at('line').textContent = words
  document.body.classList.toggle('lost', words !== '')
}

export function onRename(act) {
  at('rename').onclick = act
}

export function onTyping(act) {
  at('text').oninput = () => {
    if (at('text').value.trim()) act()
  }
}

// `send(text)` posts it, or throws an Error with words for the reader. Enter sends, Shift+Enter
// begins a line.
export function onSend(send) {
  const [form, field, problem] = [at('composer'), at('text'), at('problem')]
  const button = form.querySelector('button')
  field.onkeydown = (event) => {
    if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
      event.preventDefault()
      form.requestSubmit()
    }
  }
  form.onsubmit = async (event) => {
    event.preventDefault()
    const text = field.value.trim()
    if (!text || button.disabled) return
    const here = room
    button.disabled = true
    try {
      await send(text)
      if (field.value.trim() === text) field.value = ''
      if (here === room) problem.textContent = ''
    } catch (error) {
      if (here === room) problem.textContent = error.message
    } finally {
      button.disabled = false
    }
  }
}

// The name that is given; null if whoever is asked closes the question.
export function askForName(proposal) {
  const dialog = at('welcome')
  const field = at('name')
  field.value = proposal
  let name = null
  dialog.querySelector('form').onsubmit = () => {
    name = field.value.trim() || null
  }
  return new Promise((resolve) => {
    dialog.onclose = () => resolve(name)
    dialog.showModal()
    field.select()
  })
}

function make(tag, properties = {}, children = []) {
  const element = Object.assign(document.createElement(tag), properties)
  element.append(...children)
  return element
}
