// Go's net/http and encoding/json: decodes the event into structs and checks what no event can do without.
package main

import (
	"encoding/json"
	"log"
	"net/http"
	"os"
	"time"
)

type named struct {
	ID   string `json:"id"`
	Key  string `json:"key"`
	Name string `json:"name"`
}

type principal struct {
	PrincipalType string `json:"principalType"`
	ID            string `json:"id"`
	Username      string `json:"username"`
	Name          string `json:"name"`
	Email         string `json:"email"`
	TokenType     string `json:"tokenType"`
}

type execution struct {
	ExperimentKey    string              `json:"experimentKey"`
	ExecutionID      float64             `json:"executionId"`
	ID               string              `json:"id"`
	Name             string              `json:"name"`
	Hypothesis       string              `json:"hypothesis"`
	State            string              `json:"state"`
	Reason           string              `json:"reason"`
	ReasonDetails    string              `json:"reasonDetails"`
	PreparedTime     *time.Time          `json:"preparedTime"`
	StartedTime      *time.Time          `json:"startedTime"`
	EndedTime        *time.Time          `json:"endedTime"`
	Tags             []string            `json:"tags"`
	Variables        map[string]string   `json:"variables"`
	TargetAttributes map[string][]string `json:"targetAttributes"`
}

type event struct {
	ID        string     `json:"id"`
	Name      string     `json:"eventName"`
	Time      time.Time  `json:"eventTime"`
	Tenant    *named     `json:"tenant"`
	Team      *named     `json:"team"`
	Env       *named     `json:"environment"`
	Principal *principal `json:"principal"`
	Run       *execution `json:"experimentExecution"`
	Step      *execution `json:"experimentStepExecution"`
	Target    *execution `json:"experimentStepTargetExecution"`
}

func receive(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	var e event
	err := json.NewDecoder(r.Body).Decode(&e)
	if err != nil || e.ID == "" || e.Name == "" || e.Tenant == nil || e.Principal == nil {
		w.WriteHeader(http.StatusBadRequest)
	}
	_, _ = w.Write([]byte("{}"))
}

func main() {
	http.HandleFunc("/events", receive)
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], nil))
}
