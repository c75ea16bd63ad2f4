{{/* One variable from an existing Secret. Takes {variable, secret, entry}. */}}
{{- define "syncline.secretVariable" -}}
- name: {{ .variable }}
  valueFrom:
    secretKeyRef:
      name: {{ .secret }}
      key: {{ .entry }}
{{- end }}

{{/* The environment of one service: all it needs and no secret that it does not. Takes {root, service, facts}. */}}
{{- define "syncline.environment" -}}
{{- $root := .root -}}
{{- $service := .service -}}
{{- $secrets := .root.Values.secrets -}}
- name: SYNCLINE_LISTEN
  value: "0.0.0.0:{{ .facts.port }}"
{{- range $peer, $facts := include "syncline.services" $root | fromYaml }}
{{- if ne $peer $service }}
- name: SYNCLINE_{{ upper $peer }}_URL
  value: "http://{{ include "syncline.prefix" $root }}-{{ $peer }}:{{ $facts.port }}"
{{- end }}
{{- end }}
{{- if .facts.platform }}
{{- $nats := required "secrets.nats.name is empty: name an existing Secret that holds the address of NATS (see the chart's README.md)" $secrets.nats.name }}
{{- $database := required "secrets.database.name is empty: name an existing Secret that holds the address of PostgreSQL (see the chart's README.md)" $secrets.database.name }}
{{ include "syncline.secretVariable" (dict "variable" "SYNCLINE_NATS_URL" "secret" $nats "entry" $secrets.nats.key) }}
{{ include "syncline.secretVariable" (dict "variable" "SYNCLINE_DATABASE_URL" "secret" $database "entry" $secrets.database.key) }}
- name: SYNCLINE_NATS_REPLICAS
  value: {{ $root.Values.nats.streamReplicas | quote }}
{{- else }}
# Every service demands these two at its start, but this one never connects. The only public door gets no password.
- name: SYNCLINE_NATS_URL
  value: nats://not-used
- name: SYNCLINE_DATABASE_URL
  value: postgres://not-used
{{- end }}
{{- if eq $service "gateway" }}
{{- $token := required "secrets.gatewayToken.name is empty: name an existing Secret that holds the API token of the gateway (see the chart's README.md)" $secrets.gatewayToken.name }}
{{ include "syncline.secretVariable" (dict "variable" "SYNCLINE_GATEWAY_TOKEN" "secret" $token "entry" $secrets.gatewayToken.key) }}
{{- end }}
{{- range .facts.keys }}
{{- $keys := required "secrets.keys.name is empty: name an existing Secret that holds the installation's keys (see the chart's README.md)" $secrets.keys.name }}
{{ include "syncline.secretVariable" (dict "variable" (printf "SYNCLINE_KEY_%s" (. | upper | replace "-" "_")) "secret" $keys "entry" .) }}
{{- end }}
{{- with $root.Values.tenant }}
- name: SYNCLINE_TENANT
  value: {{ . | quote }}
{{- end }}
- name: SYNCLINE_LOG
  value: {{ $root.Values.log.format }}
{{- with $root.Values.log.filter }}
- name: RUST_LOG
  value: {{ . | quote }}
{{- end }}
{{- with $root.Values.otel.endpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ . | quote }}
{{- end }}
{{- end }}
