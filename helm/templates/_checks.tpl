{{/*
What the schema cannot say. All complaints come at once; each names the value and the remedy.
*/}}
{{- define "gatebus.check" -}}
{{- $wrong := list -}}
{{- $v := .Values -}}
{{- $items := (include "gatebus.components" . | fromJson).items -}}
{{- if not $items -}}
{{- $wrong = append $wrong "nothing would run: gateway.enabled and api.enabled are false, and workers is empty" -}}
{{- end -}}

{{- range $items -}}
{{- $c := . -}}
{{- $nats := .nats -}}
{{- $auth := $nats.auth -}}
{{- if not $nats.url -}}
{{- $wrong = append $wrong (printf "%s: nats.url is empty: say where NATS is, as in --set nats.url=nats://nats.bus:4222" .where) -}}
{{- end -}}
{{- if contains "@" $nats.url -}}
{{- $wrong = append $wrong (printf "%s: nats.url holds a user: put the password into a Secret and name it in nats.auth.existingSecret, with nats.auth.method=password" .where) -}}
{{- end -}}
{{- if and (ne $auth.method "none") (not $auth.existingSecret) -}}
{{- $wrong = append $wrong (printf "%s: nats.auth.method is %s: name the Secret with it in nats.auth.existingSecret" .where $auth.method) -}}
{{- end -}}
{{- if and (eq $auth.method "none") $auth.existingSecret -}}
{{- $wrong = append $wrong (printf "%s: nats.auth.existingSecret is set: say in nats.auth.method what the Secret holds: password, token, nkey, creds or tls" .where) -}}
{{- end -}}
{{- if and (eq $auth.method "password") (not $auth.user) -}}
{{- $wrong = append $wrong (printf "%s: nats.auth.method is password: name the user in nats.auth.user" .where) -}}
{{- end -}}
{{- if and (ne $auth.method "password") $auth.user -}}
{{- $wrong = append $wrong (printf "%s: nats.auth.user belongs to nats.auth.method=password, and that is %s" .where $auth.method) -}}
{{- end -}}
{{- if and (eq $auth.method "tls") $auth.key -}}
{{- $wrong = append $wrong (printf "%s: nats.auth.key is %s: with nats.auth.method=tls the Secret's keys are tls.crt and tls.key; leave it out" .where $auth.key) -}}
{{- end -}}

{{- if lt (int64 .grace) (int64 .leastGrace) -}}
{{- $wrong = append $wrong (printf "%s.terminationGracePeriodSeconds is %d: Kubernetes would kill before the drain is over; %d at least, or leave it out" .where (int64 .grace) (int64 .leastGrace)) -}}
{{- end -}}
{{- with .settings.rollout.progressDeadlineSeconds -}}
{{- if le (int64 .) (int64 $c.minReadySeconds) -}}
{{- $wrong = append $wrong (printf "%s.rollout.progressDeadlineSeconds is %d: it must be more than minReadySeconds, which is %d" $c.where (int64 .) (int64 $c.minReadySeconds)) -}}
{{- end -}}
{{- end -}}
{{- if and (has (toString .maxSurge) (list "0" "0%")) (has (toString .settings.rollout.maxUnavailable) (list "0" "0%")) -}}
{{- $wrong = append $wrong (printf "%s.rollout: maxSurge and maxUnavailable are both 0, so no pod could ever be replaced" .where) -}}
{{- end -}}

{{- $pdb := .settings.pdb -}}
{{- if and $pdb.enabled (kindIs "invalid" $pdb.minAvailable) (kindIs "invalid" $pdb.maxUnavailable) -}}
{{- $wrong = append $wrong (printf "%s.pdb: set maxUnavailable or minAvailable, or enabled to false" .where) -}}
{{- end -}}
{{- if and $pdb.enabled (not (kindIs "invalid" $pdb.minAvailable)) (not (kindIs "invalid" $pdb.maxUnavailable)) -}}
{{- $wrong = append $wrong (printf "%s.pdb: maxUnavailable and minAvailable exclude each other; set the one that you do not want to null" .where) -}}
{{- end -}}

{{- $scaling := .settings.autoscaling -}}
{{- if $scaling.enabled -}}
{{- if gt (int64 $scaling.minReplicas) (int64 $scaling.maxReplicas) -}}
{{- $wrong = append $wrong (printf "%s.autoscaling: minReplicas (%d) is more than maxReplicas (%d)" .where (int64 $scaling.minReplicas) (int64 $scaling.maxReplicas)) -}}
{{- end -}}
{{- $perPod := or $scaling.connectionsPerPod $scaling.batchesPerPod -}}
{{- $signals := or $perPod $scaling.cpuUtilization $scaling.memoryUtilization -}}
{{- if eq $scaling.engine "hpa" -}}
{{- if not (or $signals $scaling.metrics) -}}
{{- $wrong = append $wrong (printf "%s.autoscaling: there is nothing to scale by: set cpuUtilization, memoryUtilization or metrics" .where) -}}
{{- end -}}
{{- if $scaling.keda.triggers -}}
{{- $wrong = append $wrong (printf "%s.autoscaling.keda.triggers are for engine=keda; with hpa it is metrics" .where) -}}
{{- end -}}
{{- else -}}
{{- if not (or $signals $scaling.keda.triggers) -}}
{{- $wrong = append $wrong (printf "%s.autoscaling: there is nothing to scale by: set cpuUtilization, memoryUtilization or keda.triggers" .where) -}}
{{- end -}}
{{- if $scaling.metrics -}}
{{- $wrong = append $wrong (printf "%s.autoscaling.metrics are for engine=hpa; with keda it is keda.triggers" .where) -}}
{{- end -}}
{{- if and $perPod (not $scaling.keda.prometheusAddress) -}}
{{- $wrong = append $wrong (printf "%s.autoscaling.keda.prometheusAddress is empty: say where Prometheus is, or set %s to null and name triggers" .where (ternary "connectionsPerPod" "batchesPerPod" (eq .kind "gateway"))) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- range $name, $_ := .settings.env -}}
{{- if hasKey $c.env $name -}}
{{- $wrong = append $wrong (printf "%s.env: %s is set by the chart; change the value that it comes from" $c.where $name) -}}
{{- end -}}
{{- end -}}

{{- if eq .kind "worker" -}}
{{- if not .settings.image.repository -}}
{{- $wrong = append $wrong (printf "%s.image.repository is empty: name your worker's image" .where) -}}
{{- end -}}
{{- if not (or .settings.image.tag .settings.image.digest) -}}
{{- $wrong = append $wrong (printf "%s.image: name a tag or a digest" .where) -}}
{{- end -}}
{{- $capacity := int64 (default 1024 .settings.concurrency) -}}
{{- with $scaling.batchesPerPod -}}
{{- if and $scaling.enabled (ge (int64 .) $capacity) -}}
{{- $wrong = append $wrong (printf "%s.autoscaling.batchesPerPod is %d: it must be less than concurrency (%d), or pods are full before others come" $c.where (int64 .) $capacity) -}}
{{- end -}}
{{- if and $scaling.enabled (not $c.settings.adminPort) -}}
{{- $wrong = append $wrong (printf "%s.autoscaling.batchesPerPod is a metric of the worker's, and adminPort is null" $c.where) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- if $v.gateway.enabled -}}
{{- $g := $v.gateway -}}
{{- $drain := include "gatebus.gateway.drain" . | fromJson -}}
{{- $least := add (int64 $drain.delay) (int64 $drain.spread) -}}
{{- $gateway := index $items 0 -}}
{{- $minReady := int64 $gateway.minReadySeconds -}}
{{- if lt $minReady $least -}}
{{- if eq $g.rollout.profile "steady" -}}
{{- $wrong = append $wrong (printf "gateway.rollout.minReadySeconds is %d: the next pods would drain before these have drained; %d (drain delay and spread) at least, leave it out, or take the profile surge" $minReady $least) -}}
{{- else if ne (include "gatebus.gateway.surgesWhole" (dict "gateway" $g "maxSurge" $gateway.maxSurge)) "true" -}}
{{- $wrong = append $wrong (printf "gateway.rollout.maxSurge is %s: with the profile surge all new pods come before any old one goes; leave it out, or set minReadySeconds, which is %d, to %d (drain delay and spread) at least" (toString $gateway.maxSurge) $minReady $least) -}}
{{- end -}}
{{- end -}}
{{- if lt (int64 $drain.margin) (int64 $drain.leastMargin) -}}
{{- $wrong = append $wrong (printf "gateway.drain.marginSeconds is %d: a worker may be silent about the last batch for gateway.events.ackWait (%s); %d at least, or leave it out" (int64 $drain.margin) $g.events.ackWait (int64 $drain.leastMargin)) -}}
{{- end -}}
{{- $listeners := dict -}}
{{- range $name, $listener := $g.listeners -}}
{{- if not (kindIs "invalid" $listener) }}{{ $_ := set $listeners $name $listener }}{{ end -}}
{{- end -}}
{{- if not $listeners -}}
{{- $wrong = append $wrong "gateway.listeners is empty: a gateway needs one at least" -}}
{{- end -}}
{{- $seen := dict (toString (int64 $g.adminPort)) "gateway.adminPort" -}}
{{- $served := dict -}}
{{- range $name, $listener := $listeners -}}
{{- $port := toString (int64 $listener.port) -}}
{{- if hasKey $seen $port -}}
{{- $wrong = append $wrong (printf "gateway.listeners.%s.port is %s, and so is %s" $name $port (get $seen $port)) -}}
{{- end -}}
{{- $_ := set $seen $port (printf "gateway.listeners.%s.port" $name) -}}
{{- $port = toString (int64 (default $listener.port $listener.servicePort)) -}}
{{- if hasKey $served $port -}}
{{- $wrong = append $wrong (printf "gateway.listeners.%s: the Service's port %s is that of %s too" $name $port (get $served $port)) -}}
{{- end -}}
{{- $_ := set $served $port $name -}}
{{- if and $listener.proxyProtocol $g.trustedProxies -}}
{{- $wrong = append $wrong (printf "gateway.listeners.%s.proxyProtocol and gateway.trustedProxies exclude each other: the load balancer says addresses in one way" $name) -}}
{{- end -}}
{{- end -}}
{{- range $edge := list "ingress" "httpRoute" -}}
{{- $e := get $g $edge -}}
{{- if $e.enabled -}}
{{- $listener := get $listeners $e.listener -}}
{{- if not $listener -}}
{{- $wrong = append $wrong (printf "gateway.%s.listener is %s, and there is no such listener" $edge $e.listener) -}}
{{- else if ne $listener.protocol "websocket" -}}
{{- $wrong = append $wrong (printf "gateway.%s.listener is %s, which speaks %s: HTTP can only lead to websocket; use gateway.service.type=LoadBalancer for the others" $edge $e.listener $listener.protocol) -}}
{{- else if $listener.proxyProtocol -}}
{{- $wrong = append $wrong (printf "gateway.%s.listener is %s, which asks for the PROXY protocol; HTTP proxies say addresses in X-Forwarded-For: set gateway.trustedProxies" $edge $e.listener) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and $g.ingress.enabled (not $g.ingress.hosts) -}}
{{- $wrong = append $wrong "gateway.ingress.hosts is empty: name the host that clients connect to" -}}
{{- end -}}
{{- if and $g.httpRoute.enabled (not $g.httpRoute.parentRefs) -}}
{{- $wrong = append $wrong "gateway.httpRoute.parentRefs is empty: name the Gateway that takes it" -}}
{{- end -}}
{{- $scaling := $g.autoscaling -}}
{{- with $scaling.connectionsPerPod -}}
{{- if and $scaling.enabled (ge (int64 .) (int64 $g.limits.maxConnections)) -}}
{{- $wrong = append $wrong (printf "gateway.autoscaling.connectionsPerPod is %d: it must be less than gateway.limits.maxConnections (%d), or pods are full before others come" (int64 .) (int64 $g.limits.maxConnections)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- if $v.api.enabled -}}
{{- $drain := include "gatebus.api.drain" . | fromJson -}}
{{- if lt (int64 $drain.margin) (int64 $drain.leastMargin) -}}
{{- $wrong = append $wrong (printf "api.drain.marginSeconds is %d: the last request may take api.limits.requestTimeout (%s); %d at least, or leave it out" (int64 $drain.margin) $v.api.limits.requestTimeout (int64 $drain.leastMargin)) -}}
{{- end -}}
{{- if eq (int64 $v.api.port) (int64 $v.api.adminPort) -}}
{{- $wrong = append $wrong (printf "api.port is %d, and so is api.adminPort" (int64 $v.api.port)) -}}
{{- end -}}
{{- if and (not $v.api.tokens.existingSecret) (not $v.api.noAuth) -}}
{{- $wrong = append $wrong "api: who may call? name a Secret with tokens in api.tokens.existingSecret, or say api.noAuth=true" -}}
{{- end -}}
{{- if and $v.api.tokens.existingSecret $v.api.noAuth -}}
{{- $wrong = append $wrong "api.tokens.existingSecret and api.noAuth exclude each other" -}}
{{- end -}}
{{- end -}}

{{- if and $v.smokeTest.expect (not $v.smokeTest.send) -}}
{{- $wrong = append $wrong "smokeTest.expect is an answer: say in smokeTest.send to what" -}}
{{- end -}}

{{- with uniq $wrong -}}
{{- fail (printf "\n\n  - %s\n" (join "\n  - " .)) -}}
{{- end -}}
{{- end -}}
