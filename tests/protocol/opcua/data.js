// More data than any plant has at once, behind the server's option `data`: types.NodeSet2.xml defines the types. The
// values are repeated by hand in test_opcua_data.py.
"use strict";
const opcua = require("node-opcua");
const { DataType: T, DataValue, StatusCodes, Variant, VariantArrayType } = opcua;

// As in server.js.
const SOURCE = { sourceTimestamp: new Date("2026-03-04T05:06:07.123Z"), sourcePicoseconds: 456700000 };
const SERVER = { serverTimestamp: new Date("2026-03-04T05:06:08.001Z"), serverPicoseconds: 2000000 };

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
        DiagnosticInfo: [T.DiagnosticInfo, new opcua.DiagnosticInfo({ symbolicId: 3, locale: 4, localizedText: 5, additionalInfo: "why" })],
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

// Adds the variables and returns what changes the array of one of them.
function addData(space, namespace, plant, add, analogs) {
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
    for (let i = 0; i < analogs; i++)
        namespace.addAnalogDataItem({ ...common(`Analog${i}`), dataType: T.Double, engineeringUnits: opcua.standardUnits.bar,
            engineeringUnitsRange: { low: 0, high: i }, value: { dataType: T.Double, value: i } });
    return (values, status) => { array = values; code = StatusCodes[status]; };
}

module.exports = { addData };
