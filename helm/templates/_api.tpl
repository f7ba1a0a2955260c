{{/* The HTTP API as a component. */}}

{{/* How it ends, in seconds: margin and the least one. */}}
{{- define "gatebus.api.drain" -}}
{{- include "gatebus.margin" (list .Values.api.drain.marginSeconds .Values.api.limits.requestTimeout) -}}
{{- end -}}

{{- define "gatebus.api" -}}
{{- $a := .Values.api -}}
{{- $nats := include "gatebus.over" (list .Values.nats $a.nats) | fromJson -}}
{{- $bus := include "gatebus.nats" (dict "nats" $nats) | fromJson -}}
{{- $drain := include "gatebus.api.drain" . | fromJson -}}
{{- $least := add (int64 $a.drain.delaySeconds) (int64 $drain.margin) -}}
{{- $grace := $a.terminationGracePeriodSeconds -}}
{{- if kindIs "invalid" $grace }}{{ $grace = $least }}{{ end -}}
{{- $volumes := $bus.volumes -}}
{{- $mounts := $bus.mounts -}}
{{- $env := $bus.env -}}
{{- if $a.tokens.existingSecret -}}
{{- $_ := set $env "GATEBUS_API_TOKENS_FILE" "/etc/gatebus/tokens/tokens" -}}
{{- $secret := dict "secretName" $a.tokens.existingSecret "defaultMode" 288 "items" (list (dict "key" $a.tokens.key "path" "tokens")) -}}
{{- $volumes = append $volumes (dict "name" "tokens" "secret" $secret) -}}
{{- /* the folder, not the file: only so a changed Secret reaches the pod */ -}}
{{- $mounts = append $mounts (dict "name" "tokens" "mountPath" "/etc/gatebus/tokens" "readOnly" true) -}}
{{- end -}}
{{- if $a.noAuth }}{{ $_ := set $env "GATEBUS_API_NO_AUTH" "true" }}{{ end -}}
{{- $_ := set $env "GATEBUS_API_LISTEN" (printf "%s:%d" $a.bindAddress (int64 $a.port)) -}}
{{- $_ := set $env "GATEBUS_API_ADMIN" (printf "%s:%d" $a.bindAddress (int64 $a.adminPort)) -}}
{{- $_ := set $env "GATEBUS_API_MAX_BODY" $a.limits.maxBody -}}
{{- $_ := set $env "GATEBUS_API_MAX_BATCH" (toString (int64 $a.limits.maxBatch)) -}}
{{- $_ := set $env "GATEBUS_API_CONCURRENCY" (toString (int64 $a.limits.concurrency)) -}}
{{- $_ := set $env "GATEBUS_API_MAX_CONNECTIONS" (toString (int64 $a.limits.maxConnections)) -}}
{{- $_ := set $env "GATEBUS_API_IDLE_TIMEOUT" $a.limits.idleTimeout -}}
{{- $_ := set $env "GATEBUS_API_HEAD_TIMEOUT" $a.limits.headTimeout -}}
{{- $_ := set $env "GATEBUS_API_ANSWER_TIMEOUT" $a.limits.answerTimeout -}}
{{- $_ := set $env "GATEBUS_API_REQUEST_TIMEOUT" $a.limits.requestTimeout -}}
{{- $_ := set $env "GATEBUS_API_QUERY_TIMEOUT" $a.limits.queryTimeout -}}
{{- $_ := set $env "GATEBUS_API_DRAIN_DELAY" (printf "%ds" (int64 $a.drain.delaySeconds)) -}}
{{- $_ := set $env "GATEBUS_API_DRAIN_DEADLINE" (printf "%ds" (sub (int64 $grace) 5)) -}}
{{- $_ := set $env "GATEBUS_LOG" $a.log.filter -}}
{{- $_ := set $env "GATEBUS_LOG_FORMAT" $a.log.format -}}
{{- toJson (dict
  "name" (printf "%s-api" (include "gatebus.fullname" .))
  "where" "api"
  "kind" "api"
  "labels" (dict "app.kubernetes.io/component" "api")
  "settings" $a
  "pod" (include "gatebus.over" (list .Values.pod $a.pod) | fromJson)
  "nats" $nats
  "image" (include "gatebus.image" (dict "root" . "image" $a.image "tag" (default .Chart.AppVersion .Values.image.tag)))
  "env" $env
  "ports" (list (dict "name" "http" "containerPort" (int64 $a.port)) (dict "name" "admin" "containerPort" (int64 $a.adminPort)))
  "servicePorts" (list (dict "name" "http" "targetPort" "http" "port" (int64 $a.service.port) "appProtocol" "http"))
  "volumes" $volumes
  "mounts" $mounts
  "grace" $grace
  "leastGrace" $least
  "minReadySeconds" $a.rollout.minReadySeconds
  "maxSurge" $a.rollout.maxSurge
) -}}
{{- end -}}
