// What goes wrong on an OPC UA server, on demand: options and commands that server.js adds to its own.
"use strict";

const RealDate = Date;
let skew = 0;

/** Shifts the whole process's clock, before anything else is loaded: every timestamp the server makes is off. */
function shiftClock(milliseconds) {
    skew = milliseconds;
    if (global.Date !== RealDate) return skew;
    global.Date = class Date extends RealDate {
        constructor(...given) { given.length ? super(...given) : super(RealDate.now() + skew); }
        static now() { return RealDate.now() + skew; }
    };
    return skew;
}

/** Adds nodes: `Scripted` (its DataValue is set by a command), `written` counters, and a loop of objects. */
function build(opcua, space, namespace, plant, options) {
    const { DataType: T, DataValue, StatusCodes } = opcua;
    const time = (ms) => (ms === undefined || ms === null ? null : new RealDate(ms));
    let told = { value: 0, source: 0 };
    const scripted = namespace.addVariable({
        componentOf: plant, browseName: "Scripted", nodeId: "s=Scripted", dataType: T.Double, value: { dataType: T.Double, value: 0 },
    });
    const plainly = scripted.readAttribute;
    // Around node-opcua's own cache, which would fill in a missing timestamp. It still adds a missing server timestamp.
    scripted.readAttribute = function (context, attribute, ...more) {
        if (attribute !== opcua.AttributeIds.Value) return plainly.call(this, context, attribute, ...more);
        const { value, source, server, status } = told;
        return new DataValue({
            value: value === undefined || value === null ? undefined : { dataType: T.Double, value },
            statusCode: opcua.coerceStatusCode(status || 0), sourceTimestamp: time(source), serverTimestamp: time(server),
        });
    };
    const written = [];
    for (let i = 0; i < (options.written || 0); i++) {
        const node = namespace.addVariable({
            componentOf: plant, browseName: `Written${i}`, nodeId: `s=Written${i}`, dataType: T.Double, minimumSamplingInterval: 0,
        });
        written.push({ node, last: 0 });
        node.setValueFromSource({ dataType: T.Double, value: 0 });
    }
    const count = (one) => one.node.setValueFromSource({ dataType: T.Double, value: ++one.last }, StatusCodes.Good, new Date());
    if (options.loop) {
        const [a, b] = ["LoopA", "LoopB"].map((name) => namespace.addObject({ browseName: name, nodeId: `s=${name}` }));
        plant.addReference({ referenceType: "Organizes", nodeId: a });
        a.addReference({ referenceType: "Organizes", nodeId: b });
        b.addReference({ referenceType: "Organizes", nodeId: a });
        b.addReference({ referenceType: "Organizes", nodeId: b });
        b.addReference({ referenceType: "Organizes", nodeId: plant });
        namespace.addVariable({ componentOf: b, browseName: "InLoop", nodeId: "s=InLoop", dataType: T.Double, value: { dataType: T.Double, value: 5 } });
    }
    let writer = null;
    return {
        // The value of `Scripted`, with exactly these times (ms since 1970) and status.
        script: (what) => { told = what; return true; },
        // Writes `count` increasing values to one node as fast as it can; returns the last.
        burst: ({ node, count: times }) => {
            for (let i = 0; i < times; i++) count(written[node || 0]);
            return written[node || 0].last;
        },
        // Counts up the first `nodes` nodes every `every` ms from now on; every 0 stops. Returns the last counters.
        write: ({ nodes, every }) => {
            clearInterval(writer);
            const chosen = written.slice(0, nodes === undefined ? written.length : nodes);
            writer = every ? setInterval(() => chosen.forEach(count), every) : null;
            return written.map((one) => one.last);
        },
        written: () => written.map((one) => one.last),
    };
}

/** Nodes that vanish, and come back as `add` makes them anew. */
function vanishing(namespace, add) {
    return {
        vanish: ({ names }) => {
            for (const name of names) namespace.deleteNode(namespace.findNode(`s=${name}`).nodeId);
            return names.length;
        },
        appear: ({ names }) => names.map(add).length,
    };
}

/** What concerns sessions, subscriptions and limits. */
function commands(opcua, server) {
    const { StatusCodes, Subscription } = opcua;
    const engine = server.engine;
    let most = 0;
    let refusing = false;
    server.on("create_session", () => { most = Math.max(most, engine.currentSessionCount); });
    const create = Subscription.prototype.preCreateMonitoredItem;
    Subscription.prototype.preCreateMonitoredItem = function (space, timestamps, request) {
        const filter = request.requestedParameters.filter;
        if (refusing && filter && filter.deadbandType) {
            const createResult = new opcua.MonitoredItemCreateResult({ statusCode: StatusCodes.BadFilterNotAllowed });
            return { createResult, monitoredItemCreateRequest: request };
        }
        return create.call(this, space, timestamps, request);
    };
    const sessions = () => Object.values(engine._sessions);
    const subscriptions = () => sessions().flatMap((one) => (one.publishEngine ? one.publishEngine.subscriptions.map((each) => [one, each]) : []));
    return {
        // The most sessions at once since this was last asked.
        mostSessions: () => { const found = most; most = engine.currentSessionCount; return found; },
        // Ends the sessions, not the connections; the clients find out with their next request.
        killSessions: () => sessions().map((one) => engine.closeSession(one.authenticationToken, true, "Terminated")).length,
        // Ends the subscriptions, not the sessions.
        killSubscriptions: () => subscriptions().map(([session, one]) => session.deleteSubscription(one.id)).length,
        subscriptions: () => subscriptions().map(([, one]) => ({
            id: one.id, publishing: one.publishingInterval, items: one.monitoredItemCount, keepAlive: one.maxKeepAliveCount,
            lifetime: one.lifeTimeCount,
        })),
        // The limit that is enforced, and stated in MaxMonitoredItemsPerCall.
        maxMonitoredItems: ({ items }) => (engine.serverCapabilities.operationLimits.maxMonitoredItemsPerCall = items),
        maxSubscriptions: ({ count }) => (engine.serverCapabilities.maxSubscriptionsPerSession = count),
        // Publishing intervals (ms) are revised to lie within these.
        publishing: ({ least, most: longest }) => {
            if (least !== undefined) Subscription.minimumPublishingInterval = least;
            if (longest !== undefined) Subscription.maximumPublishingInterval = longest;
            return [Subscription.minimumPublishingInterval, Subscription.maximumPublishingInterval];
        },
        // Every deadband filter is refused with BadFilterNotAllowed.
        refuseFilters: ({ on }) => (refusing = on),
        clock: ({ ms }) => shiftClock(ms),
    };
}

module.exports = { shiftClock, build, vanishing, commands };
