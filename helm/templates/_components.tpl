{{/*
What runs. A component is a map that everything else is rendered from:

  name       of its objects
  where      the value that describes it, for error messages
  kind       gateway, api or worker
  labels     by which it is selected, beside the release's
  settings   its values, merged
  pod, nats  likewise, over the chart's
  image, command, args
  env        the chart's variables, as texts by name
  ports      of the container: [{name, containerPort}]
  servicePorts
  volumes, mounts
  grace      seconds from SIGTERM to SIGKILL
  minReadySeconds, maxSurge

"gatebus.components" gives all of them: {items: […]}.
*/}}
{{- define "gatebus.components" -}}
{{- $items := list -}}
{{- if .Values.gateway.enabled -}}
{{- $items = append $items (include "gatebus.gateway" . | fromJson) -}}
{{- end -}}
{{- if .Values.api.enabled -}}
{{- $items = append $items (include "gatebus.api" . | fromJson) -}}
{{- end -}}
{{- range $name, $over := .Values.workers -}}
{{- if not (kindIs "invalid" $over) -}}
{{- $items = append $items (include "gatebus.worker" (dict "root" $ "name" $name "over" $over) | fromJson) -}}
{{- end -}}
{{- end -}}
{{- dict "items" $items | toJson -}}
{{- end -}}

{{/* What a component has of NATS: env, volumes, mounts. Takes nats. */}}
{{- define "gatebus.nats" -}}
{{- $nats := .nats -}}
{{- $env := dict "NATS_URL" $nats.url "GATEBUS_PREFIX" $nats.prefix -}}
{{- $volumes := list -}}
{{- $mounts := list -}}
{{- $method := $nats.auth.method -}}
{{- if ne $method "none" -}}
{{- $place := "/etc/gatebus/nats-auth" -}}
{{- $secret := dict "secretName" $nats.auth.existingSecret "defaultMode" 288 -}}
{{- if eq $method "tls" -}}
{{- $_ := set $env "NATS_CERT_FILE" (printf "%s/tls.crt" $place) -}}
{{- $_ := set $env "NATS_KEY_FILE" (printf "%s/tls.key" $place) -}}
{{- $_ := set $secret "items" (list (dict "key" "tls.crt" "path" "tls.crt") (dict "key" "tls.key" "path" "tls.key")) -}}
{{- else -}}
{{- $variable := get (dict "password" "NATS_PASSWORD_FILE" "token" "NATS_TOKEN_FILE" "nkey" "NATS_NKEY_FILE" "creds" "NATS_CREDS_FILE") $method -}}
{{- $key := default (get (dict "nkey" "nkey.seed" "creds" "nats.creds") $method | default $method) $nats.auth.key -}}
{{- $_ := set $env $variable (printf "%s/secret" $place) -}}
{{- $_ := set $secret "items" (list (dict "key" $key "path" "secret")) -}}
{{- end -}}
{{- if eq $method "password" -}}
{{- $_ := set $env "NATS_USER" $nats.auth.user -}}
{{- end -}}
{{- $volumes = append $volumes (dict "name" "nats-auth" "secret" $secret) -}}
{{- $mounts = append $mounts (dict "name" "nats-auth" "mountPath" $place "readOnly" true) -}}
{{- end -}}
{{- if $nats.ca.existingSecret -}}
{{- $_ := set $env "NATS_CA_FILE" "/etc/gatebus/nats-ca/ca.crt" -}}
{{- $secret := dict "secretName" $nats.ca.existingSecret "defaultMode" 288 "items" (list (dict "key" $nats.ca.key "path" "ca.crt")) -}}
{{- $volumes = append $volumes (dict "name" "nats-ca" "secret" $secret) -}}
{{- $mounts = append $mounts (dict "name" "nats-ca" "mountPath" "/etc/gatebus/nats-ca" "readOnly" true) -}}
{{- end -}}
{{- dict "env" $env "volumes" $volumes "mounts" $mounts | toJson -}}
{{- end -}}
