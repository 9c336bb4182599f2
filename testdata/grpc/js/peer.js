// A server and a client of gRPC by grpc-js, which say and do what those of main.go do:
//
//	node peer.js server
//	node peer.js client PORT SCRIPT…
'use strict';
const grpc = require('@grpc/grpc-js');
const { Buffer } = require('node:buffer');

const same = (b) => b;
const method = (name, requestStream, responseStream) => ({
	path: `/tracer.test.Echo/${name}`, requestStream, responseStream,
	requestSerialize: same, requestDeserialize: same, responseSerialize: same, responseDeserialize: same,
});
const service = {
	Unary: method('Unary', false, false),
	ClientStream: method('ClientStream', true, false),
	ServerStream: method('ServerStream', false, true),
	Bidi: method('Bidi', true, true),
	NotFound: method('NotFound', false, false),
	Hang: method('Hang', false, false),
};

function serve() {
	const server = new grpc.Server();
	server.addService(service, {
		Unary: (call, done) => done(null, call.request),
		ClientStream: (call, done) => {
			let n = 0;
			call.on('data', () => n++);
			call.on('end', () => done(null, Buffer.from(String(n))));
		},
		ServerStream: (call) => {
			const [n, size] = call.request.toString().split(' ').map(Number);
			for (let i = 0; i < n; i++) call.write(Buffer.alloc(size));
			call.end();
		},
		Bidi: (call) => {
			call.on('data', (m) => call.write(m));
			call.on('end', () => call.end());
		},
		NotFound: (call, done) => done({ code: grpc.status.NOT_FOUND, details: 'nothing here: 100 % sure' }),
		Hang: () => {},
	});
	server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (err, port) => {
		if (err) throw err;
		console.log(port);
	});
	process.stdin.on('end', () => server.tryShutdown(() => process.exit(0))).resume();
}

async function client(port, scripts) {
	const stub = new (grpc.makeGenericClientConstructor(service, 'Echo'))(`127.0.0.1:${port}`, grpc.credentials.createInsecure());
	for (const script of scripts) {
		const [kind, n = 1, size = 10] = script.split(':').map((s, i) => (i ? Number(s) : s));
		const name = kind === 'Deadline' || kind === 'Cancel' ? 'Hang' : kind;
		const options = kind === 'Deadline' ? { deadline: Date.now() + 50 } : {};
		const message = Buffer.alloc(size);
		const { requestStream, responseStream } = service[name];
		const times = requestStream || responseStream ? 1 : n;
		let code = grpc.status.OK;
		for (let i = 0; i < times; i++) {
			code = await new Promise((resolve) => {
				const unary = (err) => resolve(err ? err.code : grpc.status.OK);
				let call;
				if (responseStream) {
					call = requestStream ? stub[name](options) : stub[name](Buffer.from(`${n} ${size}`), options);
					call.on('data', () => {});
					call.on('error', () => {});
					call.on('status', (s) => resolve(s.code));
				} else {
					call = requestStream ? stub[name](options, unary) : stub[name](message, options, unary);
				}
				if (requestStream) {
					for (let i = 0; i < n; i++) call.write(message);
					call.end();
				}
				if (kind === 'Cancel') setTimeout(() => call.cancel(), 50);
			});
		}
		console.log(script, code);
	}
	stub.close();
}

if (process.argv[2] === 'server') serve();
else client(process.argv[3], process.argv.slice(4));
