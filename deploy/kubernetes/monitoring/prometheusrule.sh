#!/bin/sh
# Prints deploy/prometheus/alerts.yml as a PrometheusRule for the Prometheus operator:
#   ./prometheusrule.sh | kubectl apply -f -
# The argument is the address at which you publish the folder docs; the alerts link to its runbook:
#   ./prometheusrule.sh https://docs.example.com/tranship | kubectl apply -f -
set -eu
cat <<'HEAD'
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: tranship
  namespace: tranship
spec:
HEAD
docs=${1:-https://docs.example.com/tranship}
sed "s#https://docs.example.com/tranship#$docs#; s/^/  /" \
    "$(dirname "$0")/../../prometheus/alerts.yml"
