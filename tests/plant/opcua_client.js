// An OPC UA client for the tests, on node-opcua. Options as JSON in the first argument; it connects, answers
// {"connected": true} and whether it was let in anonymously, then answers each command (a line on standard input) with a line.
"use strict";
const readline = require("readline");
const { OPCUAClient, AttributeIds, UserTokenType, DataType, MessageSecurityMode,
    SecurityPolicy, OPCUACertificateManager } = require("node-opcua");

const options = JSON.parse(process.argv[2]);
// node-opcua writes to standard output too.
const say = (answer) => process.stdout.write("@" + JSON.stringify(answer) + "\n");

// node-opcua keeps whole milliseconds in a Date and the rest in picoseconds.
const micros = (date, picoseconds) => date ? String(BigInt(date.getTime()) * 1000n + BigInt(Math.round((picoseconds || 0) / 1e6))) : null;
const plain = (dataValue) => ({
    value: dataValue.value && dataValue.value.value !== undefined ? dataValue.value.value : null,
    type: dataValue.value ? DataType[dataValue.value.dataType] : null,
    status: dataValue.statusCode.value,
    ts: micros(dataValue.sourceTimestamp, dataValue.sourcePicoseconds),
    ts_server: micros(dataValue.serverTimestamp, dataValue.serverPicoseconds),
});

async function main() {
    const secure = options.mode ? { securityMode: MessageSecurityMode[options.mode], securityPolicy: SecurityPolicy.Basic256Sha256,
        clientCertificateManager: new OPCUACertificateManager({ rootFolder: options.pki, automaticallyAcceptUnknownCertificate: true }) } : {};
    const client = OPCUAClient.create({ endpointMustExist: false, connectionStrategy: { maxRetry: 0 }, ...secure });
    const login = ({ user, password }) => client.createSession(user
        ? { type: UserTokenType.UserName, userName: user, password } : undefined);
    let session;
    let namespace;
    const node = (name) => `ns=${namespace};s=${name}`;
    const commands = {
        // True when let in, else why not.
        login: async (who) => {
            try { session = await login(who); } catch (error) { return error.message; }
            namespace = (await session.readNamespaceArray()).indexOf("urn:otmirror:plant");
            return true;
        },
        read: async ({ names, rounds }) => {
            const nodes = names.map((name) => ({ nodeId: node(name), attributeId: AttributeIds.Value }));
            const answers = [];
            for (let round = 0; round < (rounds || 1); round++) answers.push((await session.read(nodes)).map(plain));
            return answers;
        },
        write: async ({ name, value }) => (await session.write({ nodeId: node(name), attributeId: AttributeIds.Value,
            value: { value: { dataType: DataType.Double, value } } })).value,
    };
    await client.connect(options.url);
    say({ connected: true, anonymous: await commands.login({}) });
    for await (const line of readline.createInterface({ input: process.stdin })) {
        const command = JSON.parse(line);
        say(await commands[command.do](command));
    }
    process.exit(0);
}
main().catch((error) => { say({ error: error.stack || String(error) }); process.exit(1); });
