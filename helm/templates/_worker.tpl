{{/* A worker as a component. Takes root, name, over. */}}
{{- define "gatebus.worker" -}}
{{- $root := .root -}}
{{- $w := include "gatebus.over" (list $root.Values.workerDefaults .over) | fromJson -}}
{{- $nats := include "gatebus.over" (list $root.Values.nats $w.nats) | fromJson -}}
{{- $bus := include "gatebus.nats" (dict "nats" $nats) | fromJson -}}
{{- $least := add (int64 $w.stop.timeoutSeconds) (int64 $w.stop.marginSeconds) -}}
{{- $grace := $w.terminationGracePeriodSeconds -}}
{{- if kindIs "invalid" $grace }}{{ $grace = $least }}{{ end -}}
{{- $env := $bus.env -}}
{{- with $w.concurrency }}{{ $_ := set $env "GATEBUS_CONCURRENCY" (toString (int64 .)) }}{{ end -}}
{{- $_ := set $env "GATEBUS_STOP_TIMEOUT" (printf "%ds" (int64 $w.stop.timeoutSeconds)) -}}
{{- $ports := list -}}
{{- if $w.adminPort -}}
{{- $_ := set $env "GATEBUS_ADMIN" (printf "%s:%d" $w.bindAddress (int64 $w.adminPort)) -}}
{{- $ports = append $ports (dict "name" "admin" "containerPort" (int64 $w.adminPort)) -}}
{{- else -}}
{{- $probes := dict -}}
{{- range $kind, $probe := $w.probes -}}
{{- if ne (toString (default dict $probe.httpGet).port) "admin" }}{{ $_ := set $probes $kind $probe }}{{ end -}}
{{- end -}}
{{- $_ := set $w "probes" $probes -}}
{{- end -}}
{{- toJson (dict
  "name" (printf "%s-worker-%s" (include "gatebus.fullname" $root) .name)
  "where" (printf "workers.%s" .name)
  "kind" "worker"
  "labels" (dict "app.kubernetes.io/component" "worker" "gatebus/worker" .name)
  "settings" $w
  "pod" (include "gatebus.over" (list $root.Values.pod $w.pod) | fromJson)
  "nats" $nats
  "image" (include "gatebus.image" (dict "root" $root "image" $w.image "tag" ""))
  "command" $w.command
  "args" $w.args
  "env" $env
  "ports" $ports
  "volumes" $bus.volumes
  "mounts" $bus.mounts
  "grace" $grace
  "leastGrace" $least
  "minReadySeconds" $w.rollout.minReadySeconds
  "maxSurge" $w.rollout.maxSurge
) -}}
{{- end -}}
