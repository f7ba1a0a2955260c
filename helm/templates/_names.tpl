{{/* Names and labels. */}}

{{- define "gatebus.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 34 characters, so that a worker's objects stay within 63. */}}
{{- define "gatebus.fullname" -}}
{{- $name := include "gatebus.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 34 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 34 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "gatebus.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "gatebus.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* Labels by which selectors find pods. They never change in the life of a release. */}}
{{- define "gatebus.selectorLabels" -}}
app.kubernetes.io/name: {{ include "gatebus.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Metadata of an object that is no pod. Takes root, name, and optionally labels (of selectors), extraLabels, annotations. */}}
{{- define "gatebus.metadata" -}}
{{- $root := .root -}}
name: {{ .name }}
namespace: {{ $root.Release.Namespace }}
labels:
  helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name ($root.Chart.Version | replace "+" "_") | trunc 63 | trimSuffix "-" }}
  app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
  app.kubernetes.io/managed-by: {{ $root.Release.Service }}
  app.kubernetes.io/part-of: gatebus
  {{- $own := include "gatebus.selectorLabels" $root | fromYaml -}}
  {{- $own = include "gatebus.over" (list $own (default dict .labels)) | fromJson -}}
  {{- $foreign := include "gatebus.over" (list $root.Values.commonLabels (default dict .extraLabels)) | fromJson -}}
  {{- toYaml (include "gatebus.over" (list $foreign $own) | fromJson) | nindent 2 }}
{{- with include "gatebus.over" (list $root.Values.commonAnnotations (default dict .annotations)) | fromJson }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* One map over another, deeply, as JSON; null takes a key away. Unlike mergeOverwrite it takes
     false, 0 and empty values over, and leaves its arguments as they are. */}}
{{- define "gatebus.over" -}}
{{- $base := index . 0 -}}
{{- $over := index . 1 -}}
{{- $merged := dict -}}
{{- range $key, $value := $base -}}
{{- $_ := set $merged $key $value -}}
{{- end -}}
{{- range $key, $value := $over -}}
{{- if and (kindIs "map" $value) (kindIs "map" (get $merged $key)) -}}
{{- $_ := set $merged $key (include "gatebus.over" (list (get $merged $key) $value) | fromJson) -}}
{{- else if kindIs "invalid" $value -}}
{{- $_ := unset $merged $key -}}
{{- else -}}
{{- $_ := set $merged $key $value -}}
{{- end -}}
{{- end -}}
{{- toJson $merged -}}
{{- end -}}

{{/* A time with its unit (10s, 5m) in seconds, rounded up. */}}
{{- define "gatebus.seconds" -}}
{{- $number := regexFind "^[0-9]+" . | int64 -}}
{{- $unit := regexFind "[a-z]+$" . -}}
{{- if eq $unit "ms" -}}
{{- div (add $number 999) 1000 -}}
{{- else -}}
{{- mul $number (get (dict "s" 1 "m" 60 "min" 60 "h" 3600) $unit) -}}
{{- end -}}
{{- end -}}

{{/* What is left of the grace period for the last thing under way, which takes so long at the most: the
     program ends by itself 5 s before it is killed, and 5 s are for what follows. Takes the value, which may
     be null, and that time. */}}
{{- define "gatebus.margin" -}}
{{- $longest := include "gatebus.seconds" (index . 1) | int64 -}}
{{- $margin := index . 0 -}}
{{- if kindIs "invalid" $margin }}{{ $margin = max 20 (add $longest 10) }}{{ end -}}
{{- dict "margin" (int64 $margin) "leastMargin" (add $longest 5) | toJson -}}
{{- end -}}

{{/* The reference of an image. Takes root, image and tag, which stands where the image has none. */}}
{{- define "gatebus.image" -}}
{{- $image := .image -}}
{{- with default .root.Values.image.registry $image.registry -}}{{ . }}/{{- end -}}
{{- $image.repository -}}
{{- if $image.digest -}}
@{{ $image.digest }}
{{- else -}}
:{{ default .tag $image.tag }}
{{- end -}}
{{- end -}}
