// The schedule in robfig/cron: one entry each, each a POST with net/http.
//
// Arguments: `check`, or ADDRESS ENTRIES CRON, with six cron fields, the second first, in UTC.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"time"

	"github.com/robfig/cron"
)

const inFlight = 256

func main() {
	if os.Args[1] == "check" {
		fmt.Printf("robfig/cron as packaged, net/http, %s\n", runtime.Version())
		return
	}
	address, spec := os.Args[1], os.Args[3]
	entries, err := strconv.Atoi(os.Args[2])
	must(err)
	client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: inFlight, MaxIdleConnsPerHost: inFlight}}
	scheduler := cron.New(cron.WithSeconds(), cron.WithLocation(time.UTC))
	for job := 0; job < entries; job++ {
		url := fmt.Sprintf("http://%s/api/3/stacks/s/jobs/j%d/run_now", address, job)
		_, err := scheduler.AddFunc(spec, func() { runNow(client, url) })
		must(err)
	}
	scheduler.Run()
}

func runNow(client *http.Client, url string) {
	request, err := http.NewRequest(http.MethodPost, url, nil)
	must(err)
	request.Header.Set("Authorization", "Bearer token")
	answer, err := client.Do(request)
	if err != nil {
		return
	}
	defer answer.Body.Close()
	io.Copy(io.Discard, answer.Body)
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
