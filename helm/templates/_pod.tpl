{{/* Parts of a pod. */}}

{{/* Fields that stand in the pod as they stand in the values, if they do. */}}
{{- define "gatebus.podFields" -}}
{{- $pod := . -}}
{{- $fields := dict -}}
{{- range $field := list "nodeSelector" "affinity" "tolerations" "priorityClassName" "runtimeClassName" "hostAliases" "dnsConfig" -}}
{{- with get $pod $field }}{{ $_ := set $fields $field . }}{{ end -}}
{{- end -}}
{{- if $fields }}{{ toYaml $fields }}{{ end -}}
{{- end -}}

{{/* Containers of the user, in the chart's security context if they have none. Takes containers, pod. */}}
{{- define "gatebus.guests" -}}
{{- $context := default dict .pod.containerSecurityContext -}}
{{- $guests := list -}}
{{- range .containers -}}
{{- $guests = append $guests (include "gatebus.over" (list (dict "securityContext" $context) .) | fromJson) -}}
{{- end -}}
{{- toYaml $guests -}}
{{- end -}}

{{/* Variables, by name, each once. Takes own (texts) and more (values, or maps for valueFrom). */}}
{{- define "gatebus.env" -}}
{{- $entries := dict -}}
{{- range $name, $text := .own -}}
{{- if ne (toString $text) "" }}{{ $_ := set $entries $name (dict "name" $name "value" $text) }}{{ end -}}
{{- end -}}
{{- range $name, $value := .more -}}
{{- if kindIs "map" $value -}}
{{- $_ := set $entries $name (dict "name" $name "valueFrom" $value) -}}
{{- else if not (kindIs "invalid" $value) -}}
{{- $_ := set $entries $name (dict "name" $name "value" (include "gatebus.text" $value)) -}}
{{- end -}}
{{- end -}}
{{- $sorted := list -}}
{{- range $name := keys $entries | sortAlpha }}{{ $sorted = append $sorted (get $entries $name) }}{{ end -}}
{{- toYaml $sorted -}}
{{- end -}}

{{/* A value as text. Helm's numbers are floats: 1000000 would be 1e+06. */}}
{{- define "gatebus.text" -}}
{{- if kindIs "float64" . -}}
{{- if eq . (float64 (int64 .)) }}{{ int64 . }}{{ else }}{{ . }}{{ end -}}
{{- else -}}
{{- . -}}
{{- end -}}
{{- end -}}

{{/* A number of pods, or a share of them. */}}
{{- define "gatebus.countOrPercent" -}}
{{- if kindIs "string" . }}{{ . | quote }}{{ else }}{{ int64 . }}{{ end -}}
{{- end -}}
