// SPDX-License-Identifier: Apache-2.0
// What V8 compiles must give what its interpreter gives: run with --jitless and with its compilers, outputs are compared.
'use strict';
const scale = Number(process.argv[2] || 1);
const out = (name, value) => console.log(name, value);

function bodies(steps) {
	let x = 1, y = 0, vx = 0, vy = 1;
	for (let i = 0; i < steps; i++) {
		const r = Math.sqrt(x * x + y * y), a = -1 / (r * r * r);
		vx += a * x * 1e-3; vy += a * y * 1e-3;
		x += vx * 1e-3; y += vy * 1e-3;
	}
	return x + ' ' + y;
}

function hash(n) {
	const bytes = new Uint8Array(4096);
	let h = 0x811c9dc5;
	for (let i = 0; i < n; i++) {
		bytes[i & 4095] = h >>> 24;
		h = Math.imul(h ^ bytes[(i * 7) & 4095] ^ i, 16777619);
	}
	return h >>> 0;
}

// Functions that change their types are thrown out and compiled anew.
function deoptimised(n) {
	const add = (a, b) => a + b;
	let s = 0;
	for (let i = 0; i < n; i++) {
		s += add(i, 1);
		if (i % 997 === 0) s += add('x', i).length;
		if (i % 1499 === 0) s += add(1.5, i);
	}
	return s;
}

function evolved(n) {
	let s = 0;
	for (let i = 0; i < n; i++) {
		const f = new Function('a', `let s = ${i}; for (let k = 0; k < 300; k++) s = (s + k * a) % ${i + 17}; return s;`);
		for (let k = 0; k < 5; k++) s += f(i);
	}
	return s;
}

function objects(n) {
	const m = new Map();
	for (let i = 0; i < n; i++) {
		const key = 'k' + (i % 101);
		m.set(key, { n: (m.get(key) || { n: 0 }).n + i, text: key.repeat(i % 5) });
	}
	return [...m.values()].reduce((a, o) => a + o.n + o.text.length, 0) + ' ' + JSON.stringify(m.get('k7'));
}

out('bodies', bodies(30000 * scale));
out('hash', hash(100000 * scale));
out('deoptimised', deoptimised(50000 * scale));
out('evolved', evolved(60 * scale));
out('objects', objects(20000 * scale));
out('regexp', 'a1b22c333'.repeat(500 * scale).replace(/([a-z])(\d+)/g, (m, a, b) => b + a).length);
out('big', (3n ** 500n % 1000000007n).toString());

const { Worker, isMainThread } = require('worker_threads');
const work = `const { parentPort } = require('worker_threads');
let s = 0;
for (let i = 0; i < ${60000 * scale}; i++) s = (s * 31 + i) % 1000003;
parentPort.postMessage(s);`;
Promise.all([1, 2, 3].map(() => new Promise((done, fail) => {
	const w = new Worker(work, { eval: true });
	w.on('message', done).on('error', fail);
}))).then((r) => out('workers', r.join(' ')));
