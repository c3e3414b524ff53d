// An OPC UA server for the tests, on node-opcua. Its options come as JSON in the first argument; commands come as
// one JSON object a line on standard input and are answered with one line each on standard output.
"use strict";
const fs = require("fs");
const path = require("path");
const readline = require("readline");
const trouble = require("./trouble.js");
if (process.argv[2] && JSON.parse(process.argv[2]).skew) trouble.shiftClock(JSON.parse(process.argv[2]).skew);
const opcua = require("node-opcua");
const { addData } = require("./data.js");
const { DataType: T, DataValue, StatusCodes, Variant, VariantArrayType } = opcua;

const options = Object.assign(
    { port: 0, pki: null, namespaces: ["http://test.example/plant"], counters: 0, maxNodesPerRead: 1000, maxSessions: 50,
      data: false, analogs: 0,
      history: null, anonymous: true, security: ["None"], acceptAnyClient: false, users: {}, policies: [], buildInfo: {}, operationLimits: {},
      certificateFile: undefined, privateKeyFile: undefined, applicationUri: undefined, userPki: null },
    JSON.parse(process.argv[2] || "{}"),
);
const say = (answer) => process.stdout.write(JSON.stringify(answer) + "\n");
const requests = {};
const times = []; // when each Read came, milliseconds since 1970, and how many nodes it was for
let level = 255;
let mostNodes = 0;
let ticker = null;
const historyReads = [];
const historyFaults = {};
const historyDelays = {};
const written = {};

// 2026-03-04T05:06:07.123456700Z: Date holds milliseconds, the rest goes into picoseconds.
const SOURCE = { sourceTimestamp: new Date("2026-03-04T05:06:07.123Z"), sourcePicoseconds: 456700000 };
const SERVER = { serverTimestamp: new Date("2026-03-04T05:06:08.001Z"), serverPicoseconds: 2000000 };

function types() {
    const guid = "6B29FC40-CA47-1067-B31D-00DD010662DA";
    return {
        Boolean: [T.Boolean, true], SByte: [T.SByte, -128], Byte: [T.Byte, 255], Int16: [T.Int16, -32768],
        UInt16: [T.UInt16, 65535], Int32: [T.Int32, -2147483648], UInt32: [T.UInt32, 4294967295],
        Int64: [T.Int64, opcua.coerceInt64("9223372036854775807")],
        UInt64: [T.UInt64, opcua.coerceUInt64("18446744073709551615")],
        SmallInt64: [T.Int64, opcua.coerceInt64("-9007199254740992")],
        Float: [T.Float, 0.1], Double: [T.Double, 0.1], NaN: [T.Double, NaN], Infinity: [T.Float, -Infinity],
        String: [T.String, "Ventil \u00e4 \u2713 \ud83d\ude00"], EmptyString: [T.String, ""],
        DateTime: [T.DateTime, new Date("2024-02-29T23:59:59.007Z")],
        ByteString: [T.ByteString, Buffer.from([0, 1, 254, 255])], Guid: [T.Guid, guid],
        XmlElement: [T.XmlElement, "<a>1</a>"], NodeId: [T.NodeId, opcua.coerceNodeId("ns=1;s=x")],
        StatusCode: [T.StatusCode, StatusCodes.BadTimeout],
        QualifiedName: [T.QualifiedName, { namespaceIndex: 1, name: "q" }],
        LocalizedText: [T.LocalizedText, { locale: "de", text: "Druck" }],
        Structure: [T.ExtensionObject, new opcua.Range({ low: -1.5, high: 2 })],
        Int32Array: [T.Int32, new Int32Array([1, -2, 3]), [3]],
        StringArray: [T.String, ["a", "b"], [2]], EmptyArray: [T.Double, new Float64Array(0), [0]],
        Matrix: [T.Double, new Float64Array([1, 2, 3, 4, 5, 6]), [2, 3]],
    };
}

function add(namespace, parent, name, dataType, read, dimensions, extra) {
    return namespace.addVariable({
        componentOf: parent, browseName: name, nodeId: `s=${name}`, dataType,
        valueRank: dimensions ? dimensions.length : -1, arrayDimensions: dimensions,
        ...(read ? { value: { timestamped_get: read } } : {}), ...extra,
    });
}

let changeArray = () => {};

function build(server) {
    const space = server.engine.addressSpace;
    const spaces = options.namespaces.map((uri) => space.registerNamespace(uri));
    const namespace = spaces.find((one) => one.namespaceUri === "http://test.example/plant") || spaces[0];
    const plant = namespace.addObject({ organizedBy: space.rootFolder.objects, browseName: "Plant" });
    for (const [name, [dataType, value, dimensions]] of Object.entries(types())) {
        const arrayType = !dimensions ? VariantArrayType.Scalar
            : dimensions.length > 1 ? VariantArrayType.Matrix : VariantArrayType.Array;
        const matrix = arrayType === VariantArrayType.Matrix ? { dimensions } : {};
        const variant = new Variant({ dataType, arrayType, value, ...matrix });
        add(namespace, plant, `Type.${name}`, dataType, () => new DataValue({ value: variant, ...SOURCE, ...SERVER }), dimensions);
    }
    const one = new Variant({ dataType: T.Double, value: 1.5 });
    const statuses = {
        GoodOverload: 0x002f0000, UncertainLastUsableValue: 0x40900000, UncertainWithInfoBits: 0x40900480,
        BadSensorFailure: 0x808c0000, BadNotConnected: 0x808a0000,
    };
    for (const [name, code] of Object.entries(statuses)) {
        const statusCode = opcua.coerceStatusCode(code);
        add(namespace, plant, `Status.${name}`, T.Double, () => new DataValue({ value: one, statusCode, ...SOURCE }));
    }
    add(namespace, plant, "Status.NullGood", T.Double, () => new DataValue({ value: { dataType: T.Null }, ...SOURCE }));
    const writable = add(namespace, plant, "Setpoint", T.Double, null, null, { minimumSamplingInterval: 100 });
    writable.setValueFromSource({ dataType: T.Double, value: 42 }, StatusCodes.Good, new Date("2026-01-01T00:00:00Z"));
    const method = namespace.addMethod(plant, { browseName: "Trip", nodeId: "s=Trip", inputArguments: [], outputArguments: [] });
    method.bindMethod((_in, _context, done) => {
        writable.setValueFromSource({ dataType: T.Double, value: -1 });
        done(null, { statusCode: StatusCodes.Good });
    });
    namespace.addVariable({ componentOf: plant, browseName: "ByNumber", nodeId: "i=7001", dataType: T.Int32, value: { dataType: T.Int32, value: 7 } });
    namespace.addVariable({ componentOf: plant, browseName: "ByBytes", nodeId: "b=AQID", dataType: T.Int32, value: { dataType: T.Int32, value: 8 } });
    namespace.addVariable({ componentOf: plant, browseName: "ByGuid", nodeId: "g=6B29FC40-CA47-1067-B31D-00DD010662DA", dataType: T.Int32, value: { dataType: T.Int32, value: 9 } });
    if (options.data) changeArray = addData(space, namespace, plant, add, options.analogs);
    const counter = (i) => {
        let reads = 0;
        add(namespace, plant, `Counter${i}`, T.Double, () => new DataValue({
            value: new Variant({ dataType: T.Double, value: i + (options.moving ? ++reads / 1024 : 0) }),
            sourceTimestamp: options.moving ? new Date() : SOURCE.sourceTimestamp, serverTimestamp: new Date(),
        }));
    };
    for (let i = 0; i < options.counters; i++) counter(i);
    const again = (name) => counter(Number(name.replace("Counter", "")));
    const analog = namespace.addAnalogDataItem({
        componentOf: plant, browseName: "Analog", nodeId: "s=Analog", dataType: T.Double,
        engineeringUnitsRange: { low: -100, high: 300 }, engineeringUnits: opcua.standardUnits.degree_celsius,
    });
    const measure = ({ value }) => { analog.setValueFromSource({ dataType: T.Double, value }); return value; };
    measure({ value: 10 });
    const more = { measure, ...trouble.build(opcua, space, namespace, plant, options), ...trouble.vanishing(namespace, again) };
    const { write: record } = options.history ? historize(space, namespace, plant, options.history) : {};
    return { writable, more, record };
}

// Values of which each is remembered in `written` as [milliseconds, value]. Hist0, Hist1, ... change by themselves and
// have a history, Still0, ... have one and change on command. Plain0, ... and Claim0, ... change and have no history,
// whatever the AccessLevel of the latter says.
function historize(space, namespace, plant, { ticking = 0, still = 0, plain = 0, claiming = 0, every = 20, exact = false }) {
    const changing = {};
    const write = (name, at, value) => {
        changing[name].setValueFromSource({ dataType: T.Double, value }, StatusCodes.Good, new Date(at));
        written[name].push([at, value]);
    };
    for (const [kind, count] of Object.entries({ Hist: ticking, Still: still, Plain: plain, Claim: claiming })) {
        for (let i = 0; i < count; i++) {
            const name = `${kind}${i}`;
            const accessLevel = kind === "Plain" ? "CurrentRead" : "CurrentRead | HistoryRead";
            const node = add(namespace, plant, name, T.Double, null, null, { minimumSamplingInterval: exact ? 0 : 100, accessLevel });
            changing[name] = node;
            written[name] = [];
            if (kind === "Plain" || kind === "Claim") continue;
            space.installHistoricalDataNode(node, { maxOnlineValues: 100000 });
            const read = node.historyRead;
            node.historyRead = async function (...all) {
                if (historyDelays[name]) await new Promise((done) => setTimeout(done, historyDelays[name]));
                const statusCode = historyFaults[name] && opcua.coerceStatusCode(historyFaults[name]);
                return statusCode ? new opcua.HistoryReadResult({ statusCode }) : read.apply(this, all);
            };
        }
    }
    let ticks = 0, last = 0;
    setInterval(() => {
        last = Math.max(last + 1, Date.now());
        ticks++;
        const names = Object.keys(changing).filter((name) => !name.startsWith("Still"));
        names.forEach((name, place) => write(name, last, ticks + place / 1024));
    }, every);
    return { write };
}

async function main() {
    const certificates = new opcua.OPCUACertificateManager({
        rootFolder: options.pki, automaticallyAcceptUnknownCertificate: options.acceptAnyClient, disableFileWatchers: true,
    });
    await certificates.initialize();
    const userCertificates = options.userPki
        ? new opcua.OPCUACertificateManager({ rootFolder: options.userPki, disableFileWatchers: true }) : certificates;
    if (options.userPki) await userCertificates.initialize();
    const modes = { None: "None", Sign: "Basic256Sha256", SignAndEncrypt: "Basic256Sha256" };
    const server = new opcua.OPCUAServer({
        port: options.port, host: "127.0.0.1", hostname: "127.0.0.1", allowAnonymous: options.anonymous,
        securityModes: options.security.map((mode) => opcua.MessageSecurityMode[mode]),
        securityPolicies: [...new Set([...options.security.map((mode) => modes[mode]), ...options.policies])]
            .map((policy) => opcua.SecurityPolicy[policy]),
        serverCertificateManager: certificates, userCertificateManager: userCertificates,
        ...(options.certificateFile ? { certificateFile: options.certificateFile, privateKeyFile: options.privateKeyFile } : {}),
        ...(options.applicationUri ? { serverInfo: { applicationUri: options.applicationUri } } : {}),
        userManager: { isValidUser: (name, password) => options.users[name] === password && password !== undefined },
        serverCapabilities: {
            maxSessions: options.maxSessions,
            ...(options.written || (options.history || {}).exact ? { minSupportedSampleRate: 0 } : {}), // every single change is delivered
            operationLimits: {
                maxNodesPerRead: options.maxNodesPerRead,
                ...(options.maxMonitoredItemsPerCall ? { maxMonitoredItemsPerCall: options.maxMonitoredItemsPerCall } : {}),
                maxNodesPerHistoryReadData: (options.history || {}).maxNodes || 0,
                ...options.operationLimits,
            },
        },
        buildInfo: options.buildInfo,
        nodeset_filename: [opcua.nodesets.standard, ...(options.data ? [path.join(__dirname, "types.NodeSet2.xml")] : [])],
        registerServerMethod: opcua.RegisterServerMethod.HIDDEN,
    });
    await server.initialize();
    const { writable, more, record } = build(server);
    server.on("request", (request) => {
        const name = request.constructor.name.replace("Request", "");
        requests[name] = (requests[name] || 0) + 1;
        if (name === "Read") {
            mostNodes = Math.max(mostNodes, request.nodesToRead.length);
            times.push([Date.now(), request.nodesToRead.length]);
        }
        if (name === "HistoryRead") {
            const details = request.historyReadDetails;
            historyReads.push({
                at: Date.now(), release: request.releaseContinuationPoints, start: details.startTime.getTime(),
                end: details.endTime.getTime(), values: details.numValuesPerNode, modified: details.isReadModified,
                bounds: details.returnBounds, nodes: request.nodesToRead.map((one) => one.nodeId.value),
                points: request.nodesToRead.filter((one) => one.continuationPoint && one.continuationPoint.length).length,
            });
        }
    });
    const health = server.engine.addressSpace.findNode("i=2267");
    health.bindVariable({ get: () => new Variant({ dataType: T.Byte, value: level }) }, true);
    await server.start();
    const commands = {
        ...more, ...trouble.commands(opcua, server),
        sessions: () => server.engine.currentSessionCount,
        requests: () => ({ ...requests, mostNodes }),
        setpoint: () => writable.readValue().value.value,
        limit: ({ nodes, stated }) => {
            const limits = server.engine.serverCapabilities.operationLimits;
            limits.maxNodesPerRead = nodes;
            if (stated !== undefined) {
                const node = server.engine.addressSpace.findNode("i=11705");
                node.bindVariable({ get: () => new Variant({ dataType: T.UInt32, value: stated }) }, true);
            }
            mostNodes = 0;
            return nodes;
        },
        browseLimit: ({ nodes }) => (server.engine.serverCapabilities.operationLimits.maxNodesPerBrowse = nodes),
        array: ({ values, status }) => { changeArray(values, status || "Good"); return true; },
        serviceLevel: ({ value }) => (level = value),
        reads: () => times.splice(0),
        interrupt: () => { server.endpoints.forEach((endpoint) => endpoint.abruptlyInterruptChannels()); return true; },
        maxSessions: ({ count }) => (server.engine.serverCapabilities.maxSessions = count),
        trust: async ({ file }) => { await certificates.trustCertificate(fs.readFileSync(file)); return true; },
        trustUser: async ({ file }) => { await userCertificates.trustCertificate(fs.readFileSync(file)); return true; },
        tokens: () => server.endpoints.reduce((sum, one) => sum + one.securityTokenCount, 0),
        recorded: () => written,
        record: ({ name, values }) => { values.forEach(([at, value]) => record(name, at, value)); return values.length; },
        historyReads: () => historyReads,
        historyFault: ({ name, status }) => { historyFaults[name] = status; return true; },
        historyDelay: ({ name, ms }) => { historyDelays[name] = ms; return true; },
        stop: async () => { await server.shutdown(100); return true; },
    };
    readline.createInterface({ input: process.stdin }).on("line", async (line) => {
        const command = JSON.parse(line);
        try { say({ answer: await commands[command.do](command) }); } catch (error) { say({ error: String(error) }); }
        if (command.do === "stop") process.exit(0);
    }).on("close", () => process.exit(0));
    const endpoint = server.endpoints[0];
    say({ ready: true, port: endpoint.port, namespaces: server.engine.addressSpace.getNamespaceArray().map((one) => one.namespaceUri) });
}

main().catch((error) => { console.error(error); process.exit(1); });
