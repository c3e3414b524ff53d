// A Modbus TCP client for the tests, on jsmodbus: host and port as arguments, commands as JSON lines on standard
// input, each answered with a line: the response's bytes in hex, or {"exception": code}.
"use strict";
const net = require("net");
const readline = require("readline");
const modbus = require("jsmodbus");

const say = (answer) => process.stdout.write("@" + JSON.stringify(answer) + "\n");
const [host, port] = [process.argv[2], Number(process.argv[3])];
const units = {};
// jsmodbus hands each answer on a socket to all of its clients there: so one connection a unit.
const unit = (number) => units[number] || (units[number] = new Promise((resolve, reject) => {
    const socket = new net.Socket();
    const client = new modbus.client.TCP(socket, number, 5000);
    socket.on("error", reject);
    socket.connect({ host, port }, () => resolve(client));
}));
const hex = (answer) => answer.response.body.valuesAsBuffer.toString("hex");
const commands = {
    holding: (one, c) => one.readHoldingRegisters(c.offset, c.count).then(hex),
    input: (one, c) => one.readInputRegisters(c.offset, c.count).then(hex),
    discrete: (one, c) => one.readDiscreteInputs(c.offset, 1).then((answer) => answer.response.body.valuesAsArray[0]),
    coil: (one, c) => one.readCoils(c.offset, 1).then((answer) => answer.response.body.valuesAsArray[0]),
    write: (one, c) => one.writeSingleRegister(c.offset, c.value).then(() => true),
    writeCoil: (one, c) => one.writeSingleCoil(c.offset, c.value).then(() => true),
};

async function main() {
    await unit(1);
    say({ connected: true });
    for await (const line of readline.createInterface({ input: process.stdin })) {
        const command = JSON.parse(line);
        const client = await unit(command.unit || 1);
        const answers = [];
        for (let round = 0; round < (command.rounds || 1); round++) {
            answers.push(await commands[command.do](client, command).catch((failure) => {
                const body = failure.response && failure.response.body;
                return { exception: body ? body.code : failure.message };
            }));
        }
        say(answers);
    }
}
main().then(() => process.exit(0), (error) => { say({ error: error.message }); process.exit(0); });
