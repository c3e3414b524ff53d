//! A fast OPC UA server of counters.
//!
//!     server --port 0 --tags 10000 --changes-per-second-per-tag 5 --pki FOLDER [--mixed]
//!
//! Its variables are `s=Counter0` ... in the namespace `urn:bench`. Without changes each holds its own number; with
//! changes each begins at 0 and every write adds exactly 1, so that a client can tell what it missed. The writes go
//! round all tags, evenly spread over time. Anybody may connect, without security or with Basic256Sha256
//! SignAndEncrypt: every client certificate is trusted.
//!
//! On standard output: one JSON line when it listens. On standard input: `changes` is answered with the writes so far,
//! of each tag and in all, and the CPU seconds this process took; `stop` or the end of the input ends it.

use std::{
    io::BufRead,
    net::{Ipv4Addr, TcpListener},
    process::exit,
    sync::{
        atomic::{AtomicU64, Ordering},
        Arc,
    },
    time::{Duration, Instant},
};

use bench_async_opcua::{cpu_seconds, Options, LARGEST_MESSAGE};
use opcua::{
    crypto::SecurityPolicy,
    nodes::Variable,
    server::{
        address_space::AddressSpace,
        diagnostics::NamespaceMetadata,
        node_manager::memory::{simple_node_manager, SimpleNodeManager},
        Server, ServerBuilder, ServerHandle, SubscriptionCache, ANONYMOUS_USER_TOKEN_ID,
    },
    types::{DataValue, DateTime, MessageSecurityMode, NodeId, ObjectId, UAString, Variant},
};
use serde_json::json;

const NAMESPACE: &str = "urn:bench";
const SLICE: Duration = Duration::from_millis(10);
/// Writes under one lock, so that reads and publishing get their turn.
const WRITES_AT_ONCE: u64 = 5_000;

/// A counter in its tag's type. Of ten mixed tags four are Double, two Float, two Int32, one Boolean and one String.
fn value(tag: usize, count: u64, mixed: bool) -> Variant {
    match if mixed { tag % 10 } else { 0 } {
        0..=3 => Variant::Double(count as f64),
        4 | 5 => Variant::Float(count as f32),
        6 | 7 => Variant::Int32(count as i32),
        8 => Variant::Boolean(count % 2 == 1),
        _ => Variant::String(UAString::from(count.to_string())),
    }
}

fn data_value(value: Variant, now: DateTime) -> DataValue {
    DataValue {
        value: Some(value),
        status: None, // Good is what a value without a status has
        source_timestamp: Some(now),
        server_timestamp: Some(now),
        ..Default::default()
    }
}

fn built(options: &Options, port: u16) -> (Server, ServerHandle) {
    let pki = options.text("pki").unwrap_or_else(|| "pki".to_owned());
    let token = &[ANONYMOUS_USER_TOKEN_ID] as &[&str];
    let secure = ("/", SecurityPolicy::Basic256Sha256, MessageSecurityMode::SignAndEncrypt, token);
    let mut builder = ServerBuilder::new()
        .application_name("bench")
        .application_uri("urn:bench:server")
        .product_uri("urn:bench:server")
        .create_sample_keypair(true)
        .certificate_path("own/cert.der")
        .private_key_path("private/private.pem")
        .pki_dir(pki)
        .trust_client_certs(true)
        .host("127.0.0.1")
        .port(port)
        .discovery_urls(vec![format!("opc.tcp://127.0.0.1:{port}/")])
        .add_endpoint("none", ("/", SecurityPolicy::None, MessageSecurityMode::None, token))
        .add_endpoint("secure", secure)
        .subscription_poll_interval_ms(20)
        .max_message_size(LARGEST_MESSAGE)
        .max_chunk_count(LARGEST_MESSAGE / 8192)
        .max_array_length(1_000_000)
        .with_node_manager(simple_node_manager(
            NamespaceMetadata { namespace_uri: NAMESPACE.to_owned(), ..Default::default() },
            "bench",
        ));
    let limits = &mut builder.limits_mut();
    limits.operational.max_nodes_per_read = 10_000;
    limits.operational.max_monitored_items_per_call = 100_000;
    let subscriptions = &mut limits.subscriptions;
    subscriptions.max_monitored_items_per_sub = 0;
    subscriptions.max_monitored_item_queue_size = 1000;
    subscriptions.max_subscriptions_per_session = 100;
    subscriptions.max_pending_publish_requests = 100;
    subscriptions.max_publish_requests_per_subscription = 20;
    subscriptions.max_notifications_per_publish = 0;
    subscriptions.max_queued_notifications = 100_000; // of messages; 0 would drop each of them
    subscriptions.min_sampling_interval_ms = 0.0;
    subscriptions.min_publishing_interval_ms = 20.0;
    builder.build().expect("a server")
}

fn add(space: &mut AddressSpace, nodes: &[NodeId], changing: bool, mixed: bool) {
    let now = DateTime::now();
    let variables = nodes.iter().enumerate().map(|(tag, node)| {
        let first = value(tag, if changing { 0 } else { tag as u64 }, mixed);
        let name = format!("Counter{tag}");
        let mut variable = Variable::new(node, name.clone(), name, first.clone());
        variable.set_data_value(data_value(first, now));
        variable
    });
    space.add_variables(variables.collect(), &ObjectId::ObjectsFolder.into());
}

/// Write counters until the end of the process, `rate` a second in all; `done` has how many were written.
async fn change(
    manager: Arc<SimpleNodeManager>,
    subscriptions: Arc<SubscriptionCache>,
    nodes: Arc<Vec<NodeId>>,
    rate: f64,
    mixed: bool,
    done: Arc<AtomicU64>,
) {
    let start = Instant::now();
    let mut slices = tokio::time::interval(SLICE);
    let count = nodes.len() as u64;
    loop {
        slices.tick().await;
        let due = (start.elapsed().as_secs_f64() * rate) as u64;
        let mut from = done.load(Ordering::Relaxed);
        while from < due {
            let until = due.min(from + WRITES_AT_ONCE.min(count));
            let now = DateTime::now();
            let writes = (from..until).map(|number| {
                let tag = (number % count) as usize;
                let written = value(tag, number / count + 1, mixed);
                (&nodes[tag], None, data_value(written, now))
            });
            manager.set_values(&subscriptions, writes).expect("a write");
            done.store(until, Ordering::Relaxed);
            from = until;
            tokio::task::yield_now().await;
        }
    }
}

/// Answer commands until `stop` or the end of the input.
fn listen(tags: u64, done: Arc<AtomicU64>) {
    for line in std::io::stdin().lock().lines() {
        match line.as_deref().map(str::trim) {
            Ok("changes") => {
                let all = done.load(Ordering::Relaxed);
                let each: Vec<u64> = (0..tags).map(|tag| all / tags + u64::from(tag < all % tags)).collect();
                println!("{}", json!({"changes": all, "cpu": cpu_seconds(), "counters": each}));
            }
            Ok("stop") | Err(_) => break,
            Ok(other) => println!("{}", json!({"error": format!("{other:?} is no command")})),
        }
    }
    exit(0)
}

#[tokio::main]
async fn main() {
    let options = Options::given();
    let tags: usize = options.number("tags", 10_000.0) as usize;
    let each = options.number("changes-per-second-per-tag", 0.0);
    let rate = options.number("rate", each * tags as f64);
    let mixed = options.has("mixed");
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, options.number("port", 0.0) as u16)).expect("a free port");
    listener.set_nonblocking(true).expect("a socket");
    let port = listener.local_addr().expect("an address").port();
    let (server, handle) = built(&options, port);
    let manager = handle.node_managers().get_of_type::<SimpleNodeManager>().expect("the node manager");
    let index = handle.get_namespace_index(NAMESPACE).expect("the namespace");
    let nodes: Vec<NodeId> = (0..tags).map(|tag| NodeId::new(index, format!("Counter{tag}"))).collect();
    add(&mut manager.address_space().write(), &nodes, rate > 0.0, mixed);
    let done = Arc::new(AtomicU64::new(0));
    if rate > 0.0 {
        let subscriptions = handle.subscriptions().clone();
        tokio::spawn(change(manager, subscriptions, Arc::new(nodes), rate, mixed, done.clone()));
    }
    println!("{}", json!({"ready": true, "port": port, "namespace_index": index}));
    std::thread::spawn(move || listen(tags as u64, done));
    let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
    if let Err(error) = server.run_with(listener).await {
        eprintln!("{error}");
        exit(1);
    }
}
