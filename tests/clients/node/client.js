/*
 * What the tests ask of a Node client.
 *
 *     node client.js PORT SCENARIO [ARGUMENT...]
 *
 * Each scenario prints what the client saw as JSON.
 */
'use strict';

const { once } = require('events');
const gearmanode = require('./quiet');

const port = Number(process.argv[2]);
const client = gearmanode.client({ host: '127.0.0.1', port });

client.on('error', (error) => {
    console.error(String(error));
    process.exit(1);
});

/* Submits a job, and returns all its events when it is over. */
function watched(name, payload, options) {
    const job = client.submitJob(name, payload, options);
    const events = [];
    return new Promise((resolve) => {
        for (const event of ['created', 'status', 'workData', 'warning', 'complete', 'failed', 'exception']) {
            job.on(event, (data) => {
                if (Buffer.isBuffer(data)) {
                    data = data.toString('latin1');
                } else if (event === 'complete') {
                    data = job.response.toString('latin1');
                }
                events.push(data === undefined ? [event] : [event, data]);
                if (['complete', 'failed', 'exception'].includes(event)) {
                    resolve(events);
                }
            });
        }
    });
}

/* Submits a background job, and returns it when it has a handle. */
async function created(name, payload, options) {
    const job = client.submitJob(name, payload, { background: true, ...options });
    await once(job, 'created');
    return job;
}

async function status(job) {
    job.getStatus();
    const [seen] = await once(job, 'status');
    return [seen.known, seen.running, seen.percent_done_num, seen.percent_done_den];
}

const scenarios = {
    async results() {
        const bytes = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
        return [
            await watched('reverse', 'normal'),
            await watched('reverse', 'high', { priority: 'HIGH' }),
            await watched('reverse', 'low', { priority: 'LOW' }),
            await watched('reverse', 'Grüße', { toStringEncoding: 'utf8' }),
            await watched('size', bytes),
            await watched('empty', 'x'),
        ];
    },

    async progress() {
        return watched('progress', 'x');
    },

    async inspect() {
        const events = [await watched('inspect', 'x', { unique: 'my-unique' }), await watched('inspect', 'x')];
        return events.map(([, [, response]]) => JSON.parse(response));
    },

    async fail() {
        return [await watched('fail', 'x'), await watched('reverse', 'abc')];
    },

    async exception(asked) {
        if (asked === 'asked') {
            client.jobServers[0].setOption('exceptions');
            await once(client.jobServers[0], 'option');
        }
        return [await watched('exception', 'x'), await watched('reverse', 'abc')];
    },

    async together() {
        return Promise.all(['one', 'two', 'three', 'four', 'five'].map((word) => watched('reverse', word)));
    },

    async background() {
        const jobs = [
            await created('f', 'normal,'),
            await created('f', 'low,', { priority: 'LOW' }),
            await created('f', 'high,', { priority: 'HIGH' }),
        ];
        const statuses = [];
        for (const job of jobs) {
            statuses.push(await status(job));
        }
        return [jobs.map((job) => job.handle), statuses];
    },

    async unique() {
        const jobs = [
            await created('f', 'a', { unique: 'same' }),
            await created('f', 'b', { unique: 'same' }),
            await created('f', 'a', { unique: 'other' }),
        ];
        return jobs.map((job) => job.handle);
    },

    /* Asks for a job's status until it runs and has told how far it is, then says so, then asks until it is over. */
    async status(payload) {
        const job = await created('hold', payload);
        let seen;
        do {
            seen = await status(job);
        } while (seen[2] === '0');
        console.log(JSON.stringify(seen));
        do {
            seen = await status(job);
        } while (seen[0]);
        return seen;
    },

    async server() {
        const server = client.jobServers[0];
        server.echo('ping');
        const [echoed] = await once(server, 'echo');
        server.setOption('exceptions');
        const [option] = await once(server, 'option');
        server.setOption('teleportation');
        const [code, message] = await once(server, 'jobServerError');
        return [echoed.toString(), option.toString(), code.toString(), message.toString()];
    },

    async lost() {
        const job = client.submitJob('nobody', 'x');
        await once(job, 'created');
        console.log('"waiting"');
        const [server] = await once(client, 'socketDisconnect');
        return server;
    },
};

scenarios[process.argv[3]](...process.argv.slice(4)).then((seen) => {
    console.log(JSON.stringify(seen));
    client.close();
});
