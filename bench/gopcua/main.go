// Reads COUNT counters SCANS times and prints the CPU seconds that took: gopcua URL COUNT SCANS POLICY CERT KEY
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/gopcua/opcua"
	"github.com/gopcua/opcua/ua"
)

const request = 1000

func cpu() float64 {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		log.Fatal(err)
	}
	return float64(used.Utime.Nano()+used.Stime.Nano()) / 1e9
}

func main() {
	ctx := context.Background()
	url, policy := os.Args[1], os.Args[4]
	count, _ := strconv.Atoi(os.Args[2])
	scans, _ := strconv.Atoi(os.Args[3])
	options := []opcua.Option{opcua.SecurityPolicy(policy), opcua.RequestTimeout(30 * time.Second)}
	if policy == "None" {
		options = append(options, opcua.SecurityModeString("None"), opcua.AuthAnonymous())
	} else {
		endpoints, err := opcua.GetEndpoints(ctx, url)
		if err != nil {
			log.Fatal(err)
		}
		endpoint, err := opcua.SelectEndpoint(endpoints, policy, ua.MessageSecurityModeSignAndEncrypt)
		if err != nil {
			log.Fatal(err)
		}
		endpoint.EndpointURL = url
		options = append(options, opcua.SecurityModeString("SignAndEncrypt"), opcua.CertificateFile(os.Args[5]),
			opcua.PrivateKeyFile(os.Args[6]), opcua.AuthAnonymous(),
			opcua.SecurityFromEndpoint(endpoint, ua.UserTokenTypeAnonymous))
	}
	client, err := opcua.NewClient(url, options...)
	if err != nil {
		log.Fatal(err)
	}
	if err := client.Connect(ctx); err != nil {
		log.Fatal(err)
	}
	defer client.Close(ctx)
	nodes := make([]*ua.ReadValueID, count)
	for i := range nodes {
		nodes[i] = &ua.ReadValueID{NodeID: ua.NewStringNodeID(2, fmt.Sprintf("Counter%d", i)), AttributeID: ua.AttributeIDValue}
	}
	scan := func() {
		for start := 0; start < count; start += request {
			end := min(start+request, count)
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
	for range scans {
		scan()
	}
	fmt.Println(cpu() - before)
}
