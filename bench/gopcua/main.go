// Reads or subscribes to the counters of the benchmark's server and prints what that took.
//
//	gopcua -url URL -tags N -scans S             CPU seconds of S scans in requests of 1000
//	gopcua -url URL -tags N -subscribe SECONDS   a line of JSON: CPU seconds, values, gaps
//
// With -policy Basic256Sha256 -cert FILE.der -key FILE.pem signed and encrypted.
package main

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"log"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/gopcua/opcua"
	"github.com/gopcua/opcua/ua"
)

const request = 1000

var (
	url        = flag.String("url", "", "the server")
	tags       = flag.Int("tags", 10000, "counters")
	namespace  = flag.Int("namespace", 2, "their namespace's index")
	scans      = flag.Int("scans", 10, "reads of all")
	policy     = flag.String("policy", "None", "security policy")
	cert       = flag.String("cert", "", "own certificate, DER")
	key        = flag.String("key", "", "its private key, PEM")
	subscribed = flag.Float64("subscribe", 0, "seconds to count notifications for; 0 reads")
	publishing = flag.Float64("publishing", 1000, "publishing interval, ms")
	sampling   = flag.Float64("sampling", 1000, "sampling interval, ms")
	queue      = flag.Uint("queue", 10, "values a monitored item queues")
)

func cpu() float64 {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		log.Fatal(err)
	}
	return float64(used.Utime.Nano()+used.Stime.Nano()) / 1e9
}

func connected(ctx context.Context) *opcua.Client {
	mode := ua.MessageSecurityModeNone
	if *policy != "None" {
		mode = ua.MessageSecurityModeSignAndEncrypt
	}
	endpoints, err := opcua.GetEndpoints(ctx, *url)
	if err != nil {
		log.Fatal(err)
	}
	endpoint, err := opcua.SelectEndpoint(endpoints, *policy, mode)
	if err != nil {
		log.Fatal(err)
	}
	endpoint.EndpointURL = *url
	options := []opcua.Option{opcua.RequestTimeout(30 * time.Second), opcua.AuthAnonymous(),
		opcua.SecurityFromEndpoint(endpoint, ua.UserTokenTypeAnonymous)}
	if *cert != "" {
		options = append(options, opcua.CertificateFile(*cert), opcua.PrivateKey(privateKey()))
	}
	client, err := opcua.NewClient(*url, options...)
	if err != nil {
		log.Fatal(err)
	}
	if err := client.Connect(ctx); err != nil {
		log.Fatal(err)
	}
	return client
}

// The key is PKCS #8, which gopcua itself does not read.
func privateKey() *rsa.PrivateKey {
	content, err := os.ReadFile(*key)
	if err != nil {
		log.Fatal(err)
	}
	block, _ := pem.Decode(content)
	if block == nil {
		log.Fatalf("%s: no PEM", *key)
	}
	found, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		log.Fatal(err)
	}
	return found.(*rsa.PrivateKey)
}

func node(tag int) *ua.NodeID {
	return ua.NewStringNodeID(uint16(*namespace), fmt.Sprintf("Counter%d", tag))
}

func read(ctx context.Context, client *opcua.Client) float64 {
	nodes := make([]*ua.ReadValueID, *tags)
	for i := range nodes {
		nodes[i] = &ua.ReadValueID{NodeID: node(i), AttributeID: ua.AttributeIDValue}
	}
	scan := func() {
		for start := 0; start < *tags; start += request {
			end := min(start+request, *tags)
			answer, err := client.Read(ctx, &ua.ReadRequest{
				TimestampsToReturn: ua.TimestampsToReturnBoth, NodesToRead: nodes[start:end]})
			if err != nil {
				log.Fatal(err)
			}
			if len(answer.Results) != end-start || answer.Results[0].Value == nil {
				log.Fatal("an answer without its values")
			}
		}
	}
	scan()
	before := cpu()
	for range *scans {
		scan()
	}
	return cpu() - before
}

// What came of each tag, and what its counter says was missed.
type seen struct {
	sync.Mutex
	last         []float64
	known        []bool
	tags         int
	values, gaps int64
}

func (all *seen) take(items []*ua.MonitoredItemNotification) {
	all.Lock()
	defer all.Unlock()
	for _, item := range items {
		count, tag := item.Value.Value.Float(), item.ClientHandle
		all.values++
		if all.known[tag] {
			all.gaps += max(0, int64(count-all.last[tag])-1)
		} else {
			all.known[tag] = true
			all.tags++
		}
		all.last[tag] = count
	}
}

func subscribe(ctx context.Context, client *opcua.Client) map[string]any {
	arriving := make(chan *opcua.PublishNotificationData, 16)
	all := &seen{last: make([]float64, *tags), known: make([]bool, *tags)}
	go func() {
		for one := range arriving {
			if one.Error != nil {
				log.Fatal(one.Error)
			}
			if change, ok := one.Value.(*ua.DataChangeNotification); ok {
				all.take(change.MonitoredItems)
			}
		}
	}()
	subscription, err := client.Subscribe(ctx, &opcua.SubscriptionParameters{
		Interval:                   time.Duration(*publishing * float64(time.Millisecond)),
		MaxNotificationsPerPublish: 10000}, arriving)
	if err != nil {
		log.Fatal(err)
	}
	for start := 0; start < *tags; start += request {
		var items []*ua.MonitoredItemCreateRequest
		for tag := start; tag < min(start+request, *tags); tag++ {
			item := opcua.NewMonitoredItemCreateRequestWithDefaults(node(tag), ua.AttributeIDValue, uint32(tag))
			item.RequestedParameters.SamplingInterval = *sampling
			item.RequestedParameters.QueueSize = uint32(*queue)
			items = append(items, item)
		}
		made, err := subscription.Monitor(ctx, ua.TimestampsToReturnBoth, items...)
		if err != nil {
			log.Fatal(err)
		}
		for _, one := range made.Results {
			if one.StatusCode != ua.StatusOK {
				log.Fatal(one.StatusCode)
			}
		}
	}
	for patience := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		all.Lock()
		known := all.tags
		all.Unlock()
		if known == *tags {
			break
		}
		if time.Now().After(patience) {
			log.Fatal("not every tag has a first value")
		}
	}
	start, before := time.Now(), cpu()
	all.Lock()
	values, gaps := all.values, all.gaps
	all.Unlock()
	time.Sleep(time.Duration(*subscribed * float64(time.Second)))
	all.Lock()
	defer all.Unlock()
	return map[string]any{"cpu": cpu() - before, "seconds": time.Since(start).Seconds(), "tags": all.tags,
		"values": all.values - values, "gaps": all.gaps - gaps}
}

func main() {
	flag.Parse()
	ctx := context.Background()
	client := connected(ctx)
	defer client.Close(ctx)
	if *subscribed > 0 {
		if err := json.NewEncoder(os.Stdout).Encode(subscribe(ctx, client)); err != nil {
			log.Fatal(err)
		}
		return
	}
	fmt.Println(read(ctx, client))
}
