/*
 * A worker for the tests of Node clients.
 *
 *     node worker.js PORT serve|unique|leave|timeout
 */
'use strict';

const fs = require('fs');
const gearmanode = require('./quiet');

const port = Number(process.argv[2]);
const mode = process.argv[3];
const worker = gearmanode.worker({ host: '127.0.0.1', port, withUnique: mode === 'unique' });

/* Ends a job with "released" as soon as the file is there that its payload names. */
function holding(job) {
    if (fs.existsSync(job.payload.toString())) {
        job.workComplete('released');
    } else {
        setTimeout(holding, 10, job);
    }
}

const functions = {
    reverse: (job) => job.workComplete(job.payload.toString().split('').reverse().join('')),
    empty: (job) => job.workComplete(),
    inspect: (job) => job.workComplete(JSON.stringify([job.name, job.unique, job.handle])),
    size: (job) => job.workComplete(String(job.payload.length)),
    progress: (job) => {
        job.reportStatus(1, 4);
        job.sendWorkData('first part');
        job.reportWarning('careful');
        job.reportStatus(3, 4);
        job.sendWorkData(Buffer.from([0, 255, 10]));
        job.workComplete('the end');
    },
    fail: (job) => job.reportError(),
    exception: (job) => job.reportException('it broke'),
    hold: (job) => {
        job.reportStatus(2, 5);
        holding(job);
    },
};

worker.on('error', (error) => {
    console.error(String(error));
    process.exit(1);
});
worker.on('jobServerError', (server, code, message) => {
    console.error(code, message);
    process.exit(1);
});

worker.setWorkerId('node-worker-7');
if (mode === 'timeout') {
    worker.addFunction('reverse', () => {}, { timeout: 1 });
} else {
    for (const name of Object.keys(functions)) {
        worker.addFunction(name, functions[name]);
    }
}
if (mode === 'leave') {
    worker.addFunction('leave', (job) => {
        worker.removeFunction('fail');
        job.workComplete('left');
    });
    worker.addFunction('forget', (job) => {
        worker.resetAbilities();
        job.workComplete('forgotten');
    });
}
