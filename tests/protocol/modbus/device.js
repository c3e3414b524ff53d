// A Modbus TCP device for the tests, on jsmodbus: one memory a unit, told what to do by JSON lines on stdin.
// Each request frame is written down before jsmodbus sees it, and a unit can be made to misbehave in between.
'use strict'
const net = require('net')
const { EventEmitter } = require('events')
const readline = require('readline')
const modbus = require('jsmodbus')

const TABLES = { 1: 'coil', 2: 'discrete', 3: 'holding', 4: 'input' }
const units = new Map()
const sockets = new Set()
const log = []
let connections = 0
let closeAfter = Infinity

class Unit {
  constructor () {
    this.memory = { coils: Buffer.alloc(8192), discrete: Buffer.alloc(8192), holding: Buffer.alloc(131072), input: Buffer.alloc(131072) }
    this.front = new EventEmitter()
    this.server = new modbus.server.TCP(this.front, this.memory)
    this.behave = {}
    this.forbidden = []
  }
}

function unit (number) {
  if (!units.has(number)) units.set(number, new Unit())
  return units.get(number)
}

function exception (frame, code) {
  return Buffer.from([frame[0], frame[1], 0, 0, 0, 3, frame[6], frame[7] | 0x80, code])
}

function refusal (target, frame) {
  const [code, offset, count] = [frame[7], frame.readUInt16BE(8), frame.readUInt16BE(10)]
  if (target.behave.exception) return target.behave.exception
  if (target.behave.longest && count > target.behave.longest) return 3
  const hit = target.forbidden.find(f => f.table === TABLES[code] && offset < f.to && offset + count > f.from)
  return hit ? hit.code : 0
}

function deliver (socket, target, answer) {
  const { late, misbehave } = target.behave
  if (misbehave === 'short') { answer = Buffer.from(answer.subarray(0, -2)); answer[5] -= 2; answer[8] -= 2 }
  if (misbehave === 'tid0') answer.writeUInt16BE(0, 0)
  if (misbehave === 'garbage') { answer[8] = 200 }
  if (misbehave === 'half') { socket.write(answer.subarray(0, answer.length >> 1)); socket.destroy(); return }
  const send = () => {
    if (socket.destroyed) return
    if (misbehave === 'bytes') { for (const byte of answer) socket.write(Buffer.from([byte])) } else socket.write(answer)
    if (--closeAfter <= 0) { closeAfter = Infinity; socket.destroy() }
  }
  if (misbehave === 'partial') {
    socket.write(answer.subarray(0, 5))
    setTimeout(() => socket.destroyed || socket.write(answer.subarray(5)), late)
  } else if (late) setTimeout(send, late)
  else send()
}

function serve (socket) {
  connections += 1
  sockets.add(socket)
  socket.setNoDelay(true)
  socket.on('error', () => {})
  socket.on('close', () => sockets.delete(socket))
  const inner = new Map()
  let buffer = Buffer.alloc(0)
  socket.on('data', data => {
    buffer = Buffer.concat([buffer, data])
    while (buffer.length >= 6 && buffer.length >= 6 + buffer.readUInt16BE(4)) {
      const frame = Buffer.from(buffer.subarray(0, 6 + buffer.readUInt16BE(4)))
      buffer = buffer.subarray(frame.length)
      log.push([frame[6], frame[7], frame.readUInt16BE(8), frame.readUInt16BE(10)])
      const target = unit(frame[6])
      if (target.behave.silent) continue
      const code = refusal(target, frame)
      if (code) { deliver(socket, target, exception(frame, code)); continue }
      if (!inner.has(frame[6])) {
        const stub = new EventEmitter()
        stub.write = answer => deliver(socket, target, answer)
        inner.set(frame[6], stub)
        target.front.emit('connection', stub)
      }
      inner.get(frame[6]).emit('data', frame)
    }
  })
}

// The bytes of a value, most significant first: what Node's own Buffer writes.
const WRITERS = {
  int16: [2, (b, v) => b.writeInt16BE(Number(v))],
  uint16: [2, (b, v) => b.writeUInt16BE(Number(v))],
  int32: [4, (b, v) => b.writeInt32BE(Number(v))],
  uint32: [4, (b, v) => b.writeUInt32BE(Number(v))],
  int64: [8, (b, v) => b.writeBigInt64BE(BigInt(v))],
  uint64: [8, (b, v) => b.writeBigUInt64BE(BigInt(v))],
  float: [4, (b, v) => b.writeFloatBE(Number(v))],
  double: [8, (b, v) => b.writeDoubleBE(Number(v))]
}

const COMMANDS = {
  // letters: where each byte goes on the wire, A = the most significant one
  poke ({ unit: number, table, offset, type, value, letters }) {
    const [size, write] = WRITERS[type]
    const big = Buffer.alloc(size)
    write(big, value)
    const wire = letters ? Buffer.from([...letters].map(letter => big[letter.charCodeAt(0) - 65])) : big
    wire.copy(unit(number).memory[table], offset * 2)
  },
  bytes ({ unit: number, table, offset, hex }) { Buffer.from(hex, 'hex').copy(unit(number).memory[table], offset * 2) },
  bit ({ unit: number, table, offset, value }) {
    const memory = unit(number).memory[table === 'coil' ? 'coils' : 'discrete']
    const mask = 1 << (offset % 8)
    memory[offset >> 3] = value ? memory[offset >> 3] | mask : memory[offset >> 3] & ~mask
  },
  floats ({ unit: number, table, values }) { values.forEach((v, i) => unit(number).memory[table].writeFloatBE(v, i * 4)) },
  behave ({ unit: number, ...rest }) { unit(number).behave = rest },
  forbid ({ unit: number, ranges }) { unit(number).forbidden = ranges },
  register ({ unit: number, table, offset }) { return unit(number).memory[table].readUInt16BE(offset * 2) },
  log () { return { requests: log.splice(0), connections } },
  drop () { for (const socket of sockets) socket.destroy() },
  close_after ({ answers }) { closeAfter = answers },
  open () { return sockets.size },
  reset () { units.clear(); log.length = 0; connections = 0; closeAfter = Infinity; COMMANDS.drop() }
}

const server = net.createServer(serve)
server.listen(Number(process.argv[2] || 0), '127.0.0.1', () => console.log(JSON.stringify({ port: server.address().port })))
readline.createInterface({ input: process.stdin }).on('line', line => {
  const { command, ...rest } = JSON.parse(line)
  console.log(JSON.stringify({ result: COMMANDS[command](rest) ?? null }))
}).on('close', () => process.exit(0))
