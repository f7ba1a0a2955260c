{{/* How PromQL finds this release's series. */}}
{{- define "gatebus.series" -}}
{{- default (printf "namespace=%q,app_kubernetes_io_instance=%q" .Release.Namespace .Release.Name) .Values.metrics.selector -}}
{{- end -}}

{{/* The alerts, for what runs. docs/kubernetes.md says what to do about each. */}}
{{- define "gatebus.alerts" -}}
{{- $s := include "gatebus.series" . -}}
{{- $most := int64 .Values.gateway.limits.maxConnections -}}
alerts:
{{- if .Values.gateway.enabled }}
  - alert: GatebusNoGateway
    expr: absent(gatebus_gateway_connections{{ "{" }}{{ $s }}})
    for: 2m
    labels: {severity: critical}
    annotations:
      summary: No gateway can be seen
      description: Prometheus has no metrics of a gateway of {{ .Release.Namespace }}/{{ .Release.Name }}.
  - alert: GatebusNatsLost
    expr: min by (namespace, pod) (gatebus_gateway_link_up{{ "{" }}{{ $s }}}) == 0
    for: 1m
    labels: {severity: critical}
    annotations:
      summary: A gateway has no NATS
      description: {{ "Pod {{ $labels.pod }} has had no connection to NATS for a minute; its clients stay, their events wait." | quote }}
  - alert: GatebusEventsGivenUp
    expr: sum by (namespace, service, reason) (increase(gatebus_gateway_events_dead_total{{ "{" }}{{ $s }}}[10m])) > 0
    labels: {severity: critical}
    annotations:
      summary: Events were given up
      description: {{ "{{ $value | humanize }} events of service {{ $labels.service }} were given up in ten minutes, reason {{ $labels.reason }}." | quote }}
  - alert: GatebusNoWorker
    expr: sum by (namespace, service) (rate(gatebus_gateway_batches_refused_total{{ "{" }}{{ $s }}}[2m])) > 0
    for: 1m
    labels: {severity: critical}
    annotations:
      summary: A service has no worker
      description: {{ "NATS has known no worker of service {{ $labels.service }} for a minute; its clients wait, and are closed with 1013 in the end." | quote }}
  - alert: GatebusGatewayFull
    expr: sum by (namespace, pod) (gatebus_gateway_connections{{ "{" }}{{ $s }}}) > {{ mulf $most 0.9 | int64 }}
    for: 5m
    labels: {severity: warning}
    annotations:
      summary: A gateway is nearly full
      description: {{ printf "Pod {{ $labels.pod }} has {{ $value }} of %d connections." $most | quote }}
  - alert: GatebusEventsAgain
    expr: sum by (namespace, service) (rate(gatebus_gateway_batches_redelivered_total{{ "{" }}{{ $s }}}[5m])) / sum by (namespace, service) (rate(gatebus_gateway_batches_published_total{{ "{" }}{{ $s }}}[5m])) > 0.05
    for: 10m
    labels: {severity: warning}
    annotations:
      summary: Workers crash or are slow
      description: {{ "{{ $value | humanizePercentage }} of all batches for service {{ $labels.service }} had to be delivered again." | quote }}
  - alert: GatebusWorkersBusy
    expr: sum by (namespace, service) (rate(gatebus_gateway_acks_total{{ "{" }}{{ $s }},status="busy"}[5m])) / sum by (namespace, service) (rate(gatebus_gateway_acks_total{{ "{" }}{{ $s }}}[5m])) > 0.1
    for: 10m
    labels: {severity: warning}
    annotations:
      summary: There are too few workers
      description: {{ "{{ $value | humanizePercentage }} of all answers of the workers of {{ $labels.service }} are `busy`." | quote }}
  - alert: GatebusHandlersFail
    expr: sum by (namespace, service) (rate(gatebus_gateway_events_failed_total{{ "{" }}{{ $s }}}[5m])) / sum by (namespace, service) (rate(gatebus_gateway_events_total{{ "{" }}{{ $s }}}[5m])) > 0.05
    for: 10m
    labels: {severity: warning}
    annotations:
      summary: Handlers fail
      description: {{ "{{ $value | humanizePercentage }} of all events of service {{ $labels.service }} end with an error or a panic in the handler." | quote }}
  - alert: GatebusClientsSlow
    expr: sum by (namespace) (rate(gatebus_gateway_connections_closed_total{{ "{" }}{{ $s }},reason="slow_client"}[10m])) / sum by (namespace) (rate(gatebus_gateway_connections_closed_total{{ "{" }}{{ $s }}}[10m])) > 0.05
    for: 10m
    labels: {severity: warning}
    annotations:
      summary: Many clients read too slowly
      description: {{ "{{ $value | humanizePercentage }} of the clients that go are closed with 4008." | quote }}
  - alert: GatebusMalformedMessages
    expr: sum by (namespace) (rate(gatebus_gateway_malformed_messages_total{{ "{" }}{{ $s }}}[5m])) > 0.1
    for: 10m
    labels: {severity: warning}
    annotations:
      summary: Somebody on the bus writes what gateways cannot read
      description: Gateways drop messages that do not decode; their logs name the subjects.
  - alert: GatebusCertificateExpires
    expr: min by (namespace, listener) (gatebus_gateway_certificate_expiry_timestamp_seconds{{ "{" }}{{ $s }}}) - time() < 604800
    labels: {severity: warning}
    annotations:
      summary: A listener's certificate expires within a week
      description: {{ "The certificate of {{ $labels.listener }} expires in {{ $value | humanizeDuration }}." | quote }}
{{- end }}
{{- $admin := false -}}
{{- range (include "gatebus.components" . | fromJson).items }}
{{- if and (eq .kind "worker") .settings.adminPort }}{{ $admin = true }}{{ end -}}
{{- end }}
{{- if $admin }}
  - alert: GatebusWorkerNatsLost
    expr: min by (namespace, pod) (gatebus_worker_link_up{{ "{" }}{{ $s }}}) == 0
    for: 1m
    labels: {severity: critical}
    annotations:
      summary: A worker has no NATS
      description: {{ "Pod {{ $labels.pod }} has had no connection to NATS for a minute; others of its service get its events." | quote }}
  - alert: GatebusWorkersFull
    expr: sum by (namespace, service) (gatebus_worker_batches_running{{ "{" }}{{ $s }}}) / sum by (namespace, service) (gatebus_worker_concurrency{{ "{" }}{{ $s }}}) > 0.9
    for: 5m
    labels: {severity: warning}
    annotations:
      summary: All workers of a service have their hands full
      description: {{ "Workers of {{ $labels.service }} handle {{ $value | humanizePercentage }} of what they take at once." | quote }}
  - alert: GatebusHandlersPanic
    expr: sum by (namespace, service) (increase(gatebus_worker_handler_panics_total{{ "{" }}{{ $s }}}[10m])) > 0
    labels: {severity: warning}
    annotations:
      summary: Handlers panic
      description: {{ "{{ $value | humanize }} handlers of {{ $labels.service }} panicked in ten minutes; the worker's log says where." | quote }}
{{- end }}
{{- if .Values.api.enabled }}
  - alert: GatebusApiNatsLost
    expr: min by (namespace, pod) (gatebus_api_nats_up{{ "{" }}{{ $s }}}) == 0
    for: 1m
    labels: {severity: critical}
    annotations:
      summary: The API has no NATS
      description: {{ "Pod {{ $labels.pod }} has had no connection to NATS for a minute, and answers 503." | quote }}
  - alert: GatebusApiFails
    expr: sum by (namespace) (rate(gatebus_api_requests_total{{ "{" }}{{ $s }},code=~"timeout|internal|refused|busy"}[5m])) / sum by (namespace) (rate(gatebus_api_requests_total{{ "{" }}{{ $s }}}[5m])) > 0.05
    for: 10m
    labels: {severity: warning}
    annotations:
      summary: The API fails
      description: {{ "{{ $value | humanizePercentage }} of all requests fail for no fault of the caller." | quote }}
{{- end }}
{{- end -}}
