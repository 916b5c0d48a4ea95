#!/bin/sh
# Prints deploy/prometheus/alerts.yml as a PrometheusRule for the Prometheus operator:
#   ./prometheusrule.sh | kubectl apply -f -
set -eu
cat <<'HEAD'
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: tranship
  namespace: tranship
spec:
HEAD
sed 's/^/  /' "$(dirname "$0")/../../prometheus/alerts.yml"
