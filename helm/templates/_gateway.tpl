{{/* The gateway as a component. */}}

{{/* How it lets clients go, in seconds: delay, spread, margin, their sum, and the least margin. */}}
{{- define "gatebus.gateway.drain" -}}
{{- $drain := .Values.gateway.drain -}}
{{- $spread := $drain.spreadSeconds -}}
{{- if kindIs "invalid" $spread -}}
{{- $spread = ternary 300 60 (eq .Values.gateway.rollout.profile "surge") -}}
{{- end -}}
{{- $margin := include "gatebus.margin" (list $drain.marginSeconds .Values.gateway.events.ackWait) | fromJson -}}
{{- $sum := add (int64 $drain.delaySeconds) (int64 $spread) (int64 $margin.margin) -}}
{{- dict "delay" (int64 $drain.delaySeconds) "spread" (int64 $spread) "margin" (int64 $margin.margin) "leastMargin" (int64 $margin.leastMargin) "sum" $sum | toJson -}}
{{- end -}}

{{/* "true" if all new pods come before any old one goes. Takes gateway and maxSurge. */}}
{{- define "gatebus.gateway.surgesWhole" -}}
{{- if kindIs "string" .maxSurge -}}
{{- ge (trimSuffix "%" .maxSurge | int64) (int64 100) -}}
{{- else -}}
{{- $pods := ternary .gateway.autoscaling.maxReplicas .gateway.replicas .gateway.autoscaling.enabled -}}
{{- ge (int64 .maxSurge) (int64 $pods) -}}
{{- end -}}
{{- end -}}

{{- define "gatebus.gateway" -}}
{{- $g := .Values.gateway -}}
{{- $nats := include "gatebus.over" (list .Values.nats $g.nats) | fromJson -}}
{{- $bus := include "gatebus.nats" (dict "nats" $nats) | fromJson -}}
{{- $drain := include "gatebus.gateway.drain" . | fromJson -}}
{{- $surge := eq $g.rollout.profile "surge" -}}
{{- $minReady := $g.rollout.minReadySeconds -}}
{{- if kindIs "invalid" $minReady -}}
{{- $minReady = ternary 30 (add (int64 $drain.delay) (int64 $drain.spread)) $surge -}}
{{- end -}}
{{- $grace := $g.terminationGracePeriodSeconds -}}
{{- if kindIs "invalid" $grace }}{{ $grace = $drain.sum }}{{ end -}}

{{- $urls := list -}}
{{- $ports := list -}}
{{- $servicePorts := list -}}
{{- $volumes := $bus.volumes -}}
{{- $mounts := $bus.mounts -}}
{{- range $name, $listener := $g.listeners -}}
{{- if not (kindIs "invalid" $listener) -}}
{{- $port := int64 $listener.port -}}
{{- $url := printf "%s://%s:%d?service=%s" $listener.protocol $g.bindAddress $port $listener.service -}}
{{- if eq (default "queue" $listener.routing) "sticky" }}{{ $url = printf "%s&routing=sticky" $url }}{{ end -}}
{{- $secret := (default dict $listener.tls).secretName -}}
{{- if $secret -}}
{{- $folder := printf "/etc/gatebus/tls-%s" $name -}}
{{- $url = printf "%s&cert=%s/tls.crt&key=%s/tls.key" $url $folder $folder -}}
{{- $volumes = append $volumes (dict "name" (printf "tls-%s" $name) "secret" (dict "secretName" $secret "defaultMode" 288)) -}}
{{- $mounts = append $mounts (dict "name" (printf "tls-%s" $name) "mountPath" $folder "readOnly" true) -}}
{{- end -}}
{{- if $listener.proxyProtocol }}{{ $url = printf "%s&proxy=required" $url }}{{ end -}}
{{- $urls = append $urls $url -}}
{{- $ports = append $ports (dict "name" $name "containerPort" $port) -}}
{{- $protocol := ternary (ternary "https" "http" (not (empty $secret))) "tcp" (eq $listener.protocol "websocket") -}}
{{- $servicePort := dict "name" $name "targetPort" $name "port" (int64 (default $port $listener.servicePort)) "appProtocol" (default $protocol $listener.appProtocol) -}}
{{- with $listener.nodePort }}{{ $_ := set $servicePort "nodePort" (int64 .) }}{{ end -}}
{{- $servicePorts = append $servicePorts $servicePort -}}
{{- end -}}
{{- end -}}
{{- $ports = append $ports (dict "name" "admin" "containerPort" (int64 $g.adminPort)) -}}

{{- $env := $bus.env -}}
{{- $_ := set $env "GATEBUS_LISTEN" (join "," $urls) -}}
{{- $_ := set $env "GATEBUS_SHARDS" (toString (int64 $g.shards)) -}}
{{- $_ := set $env "GATEBUS_ADMIN" (printf "%s:%d" $g.bindAddress (int64 $g.adminPort)) -}}
{{- $_ := set $env "GATEBUS_TRUSTED_PROXIES" (join "," $g.trustedProxies) -}}
{{- $_ := set $env "GATEBUS_UNREADY_AFTER" $g.unreadyAfter -}}
{{- $_ := set $env "GATEBUS_MAX_CONNECTIONS" (toString (int64 $g.limits.maxConnections)) -}}
{{- $_ := set $env "GATEBUS_MAX_MESSAGE" $g.limits.maxMessage -}}
{{- $_ := set $env "GATEBUS_MAILBOX" $g.limits.mailbox -}}
{{- $_ := set $env "GATEBUS_SLOW_CLIENT" $g.limits.slowClient -}}
{{- $_ := set $env "GATEBUS_HANDSHAKE_TIMEOUT" $g.limits.handshakeTimeout -}}
{{- $_ := set $env "GATEBUS_MAX_CONNECTION_AGE" $g.limits.maxConnectionAge -}}
{{- $_ := set $env "GATEBUS_RECONNECT_MIN" $g.reconnect.min -}}
{{- $_ := set $env "GATEBUS_RECONNECT_MAX" $g.reconnect.max -}}
{{- $_ := set $env "GATEBUS_ACK_WAIT" $g.events.ackWait -}}
{{- $_ := set $env "GATEBUS_MAX_ATTEMPTS" (toString (int64 $g.events.maxAttempts)) -}}
{{- $_ := set $env "GATEBUS_WORKER_WAIT" $g.events.workerWait -}}
{{- $_ := set $env "GATEBUS_PING_INTERVAL" $g.ping.interval -}}
{{- $_ := set $env "GATEBUS_PING_MISSES" (toString (int64 $g.ping.misses)) -}}
{{- $_ := set $env "GATEBUS_PING_DATA" $g.ping.data -}}
{{- $_ := set $env "GATEBUS_DRAIN_DELAY" (printf "%ds" (int64 $drain.delay)) -}}
{{- $_ := set $env "GATEBUS_DRAIN_SPREAD" (printf "%ds" (int64 $drain.spread)) -}}
{{- /* it ends by itself, with a line in its log, 5 s before it is killed */ -}}
{{- $_ := set $env "GATEBUS_DRAIN_DEADLINE" (printf "%ds" (sub (int64 $grace) 5)) -}}
{{- $_ := set $env "GATEBUS_LOG" $g.log.filter -}}
{{- $_ := set $env "GATEBUS_LOG_FORMAT" $g.log.format -}}

{{- toJson (dict
  "name" (printf "%s-gateway" (include "gatebus.fullname" .))
  "where" "gateway"
  "kind" "gateway"
  "labels" (dict "app.kubernetes.io/component" "gateway")
  "settings" $g
  "pod" (include "gatebus.over" (list .Values.pod $g.pod) | fromJson)
  "nats" $nats
  "image" (include "gatebus.image" (dict "root" . "image" $g.image "tag" (default .Chart.AppVersion .Values.image.tag)))
  "env" $env
  "ports" $ports
  "servicePorts" $servicePorts
  "volumes" $volumes
  "mounts" $mounts
  "grace" $grace
  "leastGrace" $drain.sum
  "minReadySeconds" $minReady
  "maxSurge" (ternary (ternary "100%" "25%" $surge) $g.rollout.maxSurge (kindIs "invalid" $g.rollout.maxSurge))
) -}}
{{- end -}}
