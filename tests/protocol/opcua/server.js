// An OPC UA server for the tests, on node-opcua. Its options come as JSON in the first argument; commands come as
// one JSON object a line on standard input and are answered with one line each on standard output.
"use strict";
const fs = require("fs");
const readline = require("readline");
const opcua = require("node-opcua");
const { DataType: T, DataValue, StatusCodes, Variant, VariantArrayType } = opcua;

const options = Object.assign(
    { port: 0, pki: null, namespaces: ["http://test.example/plant"], counters: 0, maxNodesPerRead: 1000, maxSessions: 50,
      data: false, analogs: 0, anonymous: true, security: ["None"], acceptAnyClient: false, users: {}, policies: [] },
    JSON.parse(process.argv[2] || "{}"),
);
const say = (answer) => process.stdout.write(JSON.stringify(answer) + "\n");
const requests = {};
let mostNodes = 0;
let ticker = null;

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

// More data than any plant has at once, behind the option `data`: types.NodeSet2.xml defines the types. The values are
// repeated by hand in test_opcua_data.py.
function moreTypes(space) {
    const index = space.getNamespaceIndex("http://test.example/types");
    const made = (number, fields) => space.constructExtensionObject(space.findNode(`ns=${index};i=${number}`), fields);
    const date = (text) => new Date(text);
    const secret = space.findNode(`ns=${index};i=3006`);
    const readAttribute = secret.readAttribute.bind(secret);
    secret.readAttribute = (context, attribute, ...rest) => attribute === opcua.AttributeIds.DataTypeDefinition
        ? new DataValue({ statusCode: StatusCodes.BadAttributeIdInvalid }) : readAttribute(context, attribute, ...rest);
    const track = () => made(3003, {
        x: 1.5, y: -2, name: "T\u00e4", count: opcua.coerceInt64("9007199254740993"), when: date("2024-02-29T12:00:00.250Z"),
        state: 7, level: 0.5, raw: Buffer.from([0, 255]), label: { text: "Druck" }, limits: { low: 0, high: 10 },
        points: [{ x: 1, y: 2 }, { x: 3, y: 4 }], codes: [-1, 32767], any: { dataType: T.UInt16, value: 5 },
    });
    return {
        MinDate: [T.DateTime, date("1601-01-01T00:00:00Z")], MaxDate: [T.DateTime, date("9999-12-31T23:59:59Z")],
        BeforeMin: [T.DateTime, date("1500-01-01T00:00:00Z")],
        MinInt64: [T.Int64, opcua.coerceInt64("-9223372036854775808")],
        ExpandedNodeId: [T.ExpandedNodeId, opcua.coerceExpandedNodeId("ns=1;s=far")],
        GuidNodeId: [T.NodeId, opcua.coerceNodeId("ns=1;g=6B29FC40-CA47-1067-B31D-00DD010662DA")],
        DataValue: [T.DataValue, new DataValue({ value: { dataType: T.Int32, value: 5 }, statusCode: StatusCodes.BadTimeout,
            sourceTimestamp: date("2024-01-01T00:00:00Z") })],
        DiagnosticInfo: [T.DiagnosticInfo, new opcua.DiagnosticInfo({ symbolicId: 3, additionalInfo: "why" })],
        NullString: [T.String, null], NullByteString: [T.ByteString, null],
        EmptyByteString: [T.ByteString, Buffer.alloc(0)],
        NullLocalizedText: [T.LocalizedText, { text: null }],
        Megabyte: [T.String, "\u00e4".repeat(512 * 1024)],
        Huge: [T.Double, new Float64Array(100000).map((_, i) => i / 4), [100000]],
        NaNs: [T.Double, new Float64Array([1, NaN, -Infinity]), [3]],
        Int64s: [T.Int64, [opcua.coerceInt64("9223372036854775807"), opcua.coerceInt64("-1")], [2]],
        Booleans: [T.Boolean, [true, false], [2]],
        Dates: [T.DateTime, [date("2024-02-29T00:00:00Z"), date("1601-01-01T00:00:00Z")], [2]],
        ByteStrings: [T.ByteString, [Buffer.from([1]), null, Buffer.from([254, 255])], [3]],
        Guids: [T.Guid, ["6B29FC40-CA47-1067-B31D-00DD010662DA"], [1]],
        Texts: [T.LocalizedText, [{ text: "eins" }, { locale: "en", text: "two" }], [2]],
        Statuses: [T.StatusCode, [StatusCodes.Good, StatusCodes.BadTimeout], [2]],
        Variants: [T.Variant, [new Variant({ dataType: T.Int16, value: -3 }), new Variant({ dataType: T.String, value: "x" }),
            new Variant({ dataType: T.Double, arrayType: VariantArrayType.Array, value: new Float64Array([1, 2]) })], [3]],
        Structures: [T.ExtensionObject, [new opcua.Range({ low: 0, high: 1 }), new opcua.Range({ low: 2, high: 3 })], [2]],
        Cube: [T.Int32, new Int32Array([1, 2, 3, 4, 5, 6, 7, 8]), [2, 2, 2]],
        Words: [T.String, ["a", "b", "c", "d"], [2, 2]],
        Unit: [T.ExtensionObject, opcua.standardUnits.bar], NullStructure: [T.ExtensionObject, null],
        Secret: [T.ExtensionObject, made(3006, { a: 1, b: -1 }), null, `ns=${index};i=3006`],
        Point: [T.ExtensionObject, made(3002, { x: 0.25, y: 4 }), null, `ns=${index};i=3002`],
        Track: [T.ExtensionObject, track(), null, `ns=${index};i=3003`],
        AnyTrack: [T.ExtensionObject, track()],
        Bare: [T.ExtensionObject, made(3004, { always: 1 }), null, `ns=${index};i=3004`],
        Full: [T.ExtensionObject, made(3004, { always: 2, maybe: "m", perhaps: { x: 5, y: 6 } }), null, `ns=${index};i=3004`],
        Number: [T.ExtensionObject, made(3005, { number: 2.5 }), null, `ns=${index};i=3005`],
        Word: [T.ExtensionObject, made(3005, { word: "w" }), null, `ns=${index};i=3005`],
        Enumeration: [T.Int32, 7, null, `ns=${index};i=3001`], Nameless: [T.Int32, 3, null, `ns=${index};i=3001`],
        Enumerations: [T.Int32, new Int32Array([0, 1, 7]), [3], `ns=${index};i=3001`],
        ServerState: [T.Int32, 2, null, "i=852"],
    };
}

function addData(space, namespace, plant) {
    for (const [name, [dataType, value, dimensions, type]] of Object.entries(moreTypes(space))) {
        const arrayType = !dimensions ? VariantArrayType.Scalar
            : dimensions.length > 1 ? VariantArrayType.Matrix : VariantArrayType.Array;
        const variant = new Variant({ dataType, arrayType, value, ...(dimensions && dimensions.length > 1 ? { dimensions } : {}) });
        const read = () => new DataValue({ value: variant, ...SOURCE, ...SERVER });
        add(namespace, plant, `Data.${name}`, type || dataType, read, dimensions || undefined);
    }
    const common = (name) => ({ componentOf: plant, browseName: name, nodeId: `s=${name}` });
    namespace.addMultiStateDiscrete({ ...common("Data.MultiState"), enumStrings: ["Red", "Green"], value: 1 });
    namespace.addMultiStateValueDiscrete({ ...common("Data.MultiStateValue"), dataType: T.UInt16, value: 40,
        enumValues: { Low: 20, High: 40 } });
    namespace.addTwoStateDiscrete({ ...common("Data.TwoState"), trueState: "Open", falseState: "Closed",
        value: new Variant({ dataType: T.Boolean, value: true }) });
    namespace.addAnalogDataItem({ ...common("Data.Analog"), dataType: T.Double, engineeringUnits: opcua.standardUnits.bar,
        engineeringUnitsRange: { low: -5, high: 250.5 }, value: { dataType: T.Double, value: 3.5 } });
    for (const [name, accessLevel] of [["ReadOnly", "CurrentRead"], ["Writable", "CurrentRead | CurrentWrite"]])
        namespace.addVariable({ ...common(`Data.${name}`), dataType: T.Double, accessLevel, userAccessLevel: accessLevel,
            value: { dataType: T.Double, value: 1 } });
    let array = [1, 2, 3];
    let code = StatusCodes.Good;
    add(namespace, plant, "Data.Changing", T.Int32, () => new DataValue({ statusCode: code, sourceTimestamp: new Date(),
        value: new Variant({ dataType: T.Int32, arrayType: VariantArrayType.Array, value: Int32Array.from(array) }) }), [0]);
    for (let i = 0; i < options.analogs; i++)
        namespace.addAnalogDataItem({ ...common(`Analog${i}`), dataType: T.Double, engineeringUnits: opcua.standardUnits.bar,
            engineeringUnitsRange: { low: 0, high: i }, value: { dataType: T.Double, value: i } });
    return (values, status) => { array = values; code = StatusCodes[status]; };
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
    if (options.data) changeArray = addData(space, namespace, plant);
    for (let i = 0; i < options.counters; i++) {
        let reads = 0;
        add(namespace, plant, `Counter${i}`, T.Double, () => new DataValue({
            value: new Variant({ dataType: T.Double, value: i + (options.moving ? ++reads / 1024 : 0) }),
            sourceTimestamp: options.moving ? new Date() : SOURCE.sourceTimestamp, serverTimestamp: new Date(),
        }));
    }
    return writable;
}

async function main() {
    const certificates = new opcua.OPCUACertificateManager({
        rootFolder: options.pki, automaticallyAcceptUnknownCertificate: options.acceptAnyClient, disableFileWatchers: true,
    });
    await certificates.initialize();
    const modes = { None: "None", Sign: "Basic256Sha256", SignAndEncrypt: "Basic256Sha256" };
    const server = new opcua.OPCUAServer({
        port: options.port, host: "127.0.0.1", hostname: "127.0.0.1", allowAnonymous: options.anonymous,
        securityModes: options.security.map((mode) => opcua.MessageSecurityMode[mode]),
        securityPolicies: [...new Set([...options.security.map((mode) => modes[mode]), ...options.policies])]
            .map((policy) => opcua.SecurityPolicy[policy]),
        serverCertificateManager: certificates, userCertificateManager: certificates,
        userManager: { isValidUser: (name, password) => options.users[name] === password && password !== undefined },
        serverCapabilities: {
            maxSessions: options.maxSessions, operationLimits: { maxNodesPerRead: options.maxNodesPerRead },
        },
        nodeset_filename: [opcua.nodesets.standard, ...(options.data ? [require("path").join(__dirname, "types.NodeSet2.xml")] : [])], registerServerMethod: opcua.RegisterServerMethod.HIDDEN,
    });
    await server.initialize();
    const writable = build(server);
    server.on("request", (request) => {
        const name = request.constructor.name.replace("Request", "");
        requests[name] = (requests[name] || 0) + 1;
        if (name === "Read") mostNodes = Math.max(mostNodes, request.nodesToRead.length);
    });
    await server.start();
    const commands = {
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
        array: ({ values, status }) => { changeArray(values, status || "Good"); return true; },
        maxSessions: ({ count }) => (server.engine.serverCapabilities.maxSessions = count),
        trust: async ({ file }) => { await certificates.trustCertificate(fs.readFileSync(file)); return true; },
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
