package main

import (
	"io"
	"log"
	"net/http"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// receive answers a delivery.
func receive(secret string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, "unreadable", http.StatusBadRequest)
			return
		}
		webhook, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			http.Error(w, "no secret", http.StatusInternalServerError)
			return
		}
		if err := webhook.Verify(body, r.Header); err != nil {
			http.Error(w, "not signed", http.StatusBadRequest)
			return
		}
		// Deliveries may arrive twice: webhook-id stays the same, so remember it.
		log.Println("received", r.Header.Get("webhook-id"), string(body))
		w.WriteHeader(http.StatusNoContent)
	}
}
