/*
 * gearmanode without its log: the library under test, and nothing on the standard output but what a test wants.
 */
'use strict';

const winston = require('winston');

winston.configure({ silent: true });
for (const name of ['Client', 'Worker', 'JobServer', 'Job', 'LBStrategy', 'protocol']) {
    winston.loggers.add(name, { silent: true });
}

module.exports = require('gearmanode');
