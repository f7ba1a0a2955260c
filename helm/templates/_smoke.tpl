{{/* Where `helm test` connects; nothing if there is no test. */}}
{{- define "gatebus.smokeTest.url" -}}
{{- $test := .Values.smokeTest -}}
{{- if and $test.enabled .Values.gateway.enabled -}}
{{- $url := $test.url -}}
{{- range $name, $listener := .Values.gateway.listeners -}}
{{- if and $listener (not $url) -}}
{{- /* a certificate is for the name that clients use, and who speaks the PROXY protocol is a load balancer */ -}}
{{- if and (eq $listener.protocol "websocket") (not (default dict $listener.tls).secretName) (not $listener.proxyProtocol) -}}
{{- $url = printf "ws://%s-gateway.%s:%d/" (include "gatebus.fullname" $) $.Release.Namespace (int64 (default $listener.port $listener.servicePort)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $url -}}
{{- end -}}
{{- end -}}
