//! Reads or subscribes to the counters of the benchmark's server and prints what that took.
//!
//!     client --url URL --tags N --scans S                      CPU seconds of S scans in requests of 1000
//!     client --url URL --tags N --subscribe SECONDS            a line of JSON: CPU seconds, values, gaps
//!
//! With `--policy Basic256Sha256 --cert FILE.der --key FILE.pem` signed and encrypted.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bench_async_opcua::{cpu_seconds, Options, LARGEST_MESSAGE};
use opcua::{
    client::{ClientBuilder, DataChangeCallback, IdentityToken, MonitoredItem, Session},
    types::{
        AttributeId, DataValue, EndpointDescription, MessageSecurityMode, MonitoredItemCreateRequest,
        MonitoringMode, MonitoringParameters, NodeId, ReadValueId, TimestampsToReturn, UserTokenPolicy,
        Variant,
    },
};
use serde_json::json;

const REQUEST: usize = 1000;

async fn connected(options: &Options) -> Arc<Session> {
    let policy = options.text("policy").unwrap_or_else(|| "None".to_owned());
    let mut builder = ClientBuilder::new()
        .application_name("bench client")
        .application_uri("urn:bench:client")
        .trust_server_certs(true)
        .verify_server_certs(false)
        .session_retry_limit(0)
        .request_timeout(Duration::from_secs(30))
        .publish_timeout(Duration::from_secs(120))
        .max_message_size(LARGEST_MESSAGE)
        .max_chunk_count(LARGEST_MESSAGE / 8192)
        .max_array_length(1_000_000);
    let mode = match (options.text("cert"), options.text("key")) {
        (Some(certificate), Some(key)) if policy != "None" => {
            let folder = std::path::Path::new(&certificate).with_file_name("async-opcua");
            builder = builder.certificate_path(certificate).private_key_path(key).pki_dir(folder);
            MessageSecurityMode::SignAndEncrypt
        }
        _ => MessageSecurityMode::None,
    };
    let endpoint: EndpointDescription =
        (options.text("url").expect("--url").as_str(), policy.as_str(), mode, UserTokenPolicy::anonymous())
            .into();
    let mut client = builder.client().expect("a client");
    let (session, events) = client
        .connect_to_matching_endpoint(endpoint, IdentityToken::Anonymous)
        .await
        .expect("a server with this security");
    events.spawn();
    assert!(session.wait_for_connection().await, "no connection");
    session
}

async fn read(session: &Session, nodes: &[ReadValueId], scans: usize) -> f64 {
    let mut before = 0.0;
    for scan in 0..=scans {
        for chunk in nodes.chunks(REQUEST) {
            let values = session.read(chunk, TimestampsToReturn::Both, 0.0).await.expect("an answer");
            assert!(values.len() == chunk.len() && values[0].value.is_some(), "an answer without its values");
        }
        if scan == 0 {
            before = cpu_seconds(); // the first one warms up
        }
    }
    cpu_seconds() - before
}

#[derive(Default)]
struct Seen {
    last: Vec<Option<f64>>,
    tags: usize,
    values: u64,
    gaps: u64,
}

impl Seen {
    /// Count a value of a tag, and what its counter says was missed before it.
    fn take(&mut self, value: DataValue, tag: usize) {
        let Some(Variant::Double(count)) = value.value else { return };
        self.values += 1;
        match self.last[tag].replace(count) {
            Some(before) => self.gaps += (count - before - 1.0).max(0.0) as u64,
            None => self.tags += 1,
        }
    }
}

async fn subscribe(session: &Session, nodes: Vec<ReadValueId>, options: &Options) -> serde_json::Value {
    let publishing = options.number("publishing", 1000.0);
    let sampling = options.number("sampling", publishing);
    let share = options.number("items-per-subscription", 0.0) as usize;
    let count = nodes.len();
    let seen = Arc::new(Mutex::new(Seen { last: vec![None; count], ..Default::default() }));
    let share = if share == 0 { count } else { share };
    for (part, chunk) in nodes.chunks(share).enumerate() {
        let (into, first) = (seen.clone(), part * share);
        let taken = DataChangeCallback::new(move |value, item: &MonitoredItem| {
            into.lock().unwrap().take(value, first + item.client_handle() as usize - 1)
        });
        let id = session
            .create_subscription(Duration::from_secs_f64(publishing / 1e3), 600, 60, 10_000, 0, true, taken)
            .await
            .expect("a subscription");
        for (begin, some) in chunk.chunks(REQUEST).enumerate() {
            let items = some.iter().enumerate().map(|(n, node)| MonitoredItemCreateRequest {
                item_to_monitor: node.clone(),
                monitoring_mode: MonitoringMode::Reporting,
                requested_parameters: MonitoringParameters {
                    client_handle: (begin * REQUEST + n + 1) as u32, // the crate replaces 0
                    sampling_interval: sampling,
                    queue_size: options.number("queue", 10.0) as u32,
                    discard_oldest: true,
                    ..Default::default()
                },
            });
            let made = session
                .create_monitored_items(id, TimestampsToReturn::Both, items.collect())
                .await
                .expect("monitored items");
            assert!(made.iter().all(|one| one.result.status_code.is_good()), "an item was refused");
        }
    }
    let patience = Instant::now() + Duration::from_secs(60);
    while seen.lock().unwrap().tags < count {
        assert!(Instant::now() < patience, "not every tag has a first value");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (start, before) = (Instant::now(), cpu_seconds());
    let (values, gaps) = {
        let s = seen.lock().unwrap();
        (s.values, s.gaps)
    };
    tokio::time::sleep(Duration::from_secs_f64(options.number("subscribe", 10.0))).await;
    let seen = seen.lock().unwrap();
    json!({"cpu": cpu_seconds() - before, "seconds": start.elapsed().as_secs_f64(), "tags": seen.tags,
           "values": seen.values - values, "gaps": seen.gaps - gaps})
}

#[tokio::main]
async fn main() {
    let options = Options::given();
    let index = options.number("namespace", 2.0) as u16;
    let nodes: Vec<ReadValueId> = (0..options.number("tags", 10_000.0) as usize)
        .map(|tag| ReadValueId {
            node_id: NodeId::new(index, format!("Counter{tag}")),
            attribute_id: AttributeId::Value as u32,
            ..Default::default()
        })
        .collect();
    let session = connected(&options).await;
    if options.has("subscribe") {
        println!("{}", subscribe(&session, nodes, &options).await);
    } else {
        println!("{}", read(&session, &nodes, options.number("scans", 10.0) as usize).await);
    }
    let _ = session.disconnect().await;
}
