#!/bin/sh
# Prints the alerts as an object of the Prometheus operator, so that they are written only once:
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
