{{/* One variable from an existing Secret. Takes {variable, secret, entry}. */}}
{{- define "syncline.secretVariable" -}}
- name: {{ .variable }}
  valueFrom:
    secretKeyRef:
      name: {{ .secret }}
      key: {{ .entry }}
{{- end }}

{{/* Where NATS is. Takes {root, service}: the address may be this service's alone. */}}
{{- define "syncline.natsVariables" -}}
{{- $nats := required "secrets.nats.name is empty: name an existing Secret that holds the address of NATS (see the chart's README.md)" .root.Values.secrets.nats.name -}}
{{- $entry := .root.Values.secrets.nats.key -}}
{{- if .root.Values.secrets.nats.perService -}}{{- $entry = printf "url-%s" .service -}}{{- end -}}
{{ include "syncline.secretVariable" (dict "variable" "SYNCLINE_NATS_URL" "secret" $nats "entry" $entry) }}
- name: SYNCLINE_NATS_REPLICAS
  value: {{ .root.Values.nats.streamReplicas | quote }}
{{- end }}

{{/* Where PostgreSQL is. Takes the root. */}}
{{- define "syncline.databaseVariable" -}}
{{- $database := required "secrets.database.name is empty: name an existing Secret that holds the address of PostgreSQL (see the chart's README.md)" .Values.secrets.database.name -}}
{{ include "syncline.secretVariable" (dict "variable" "SYNCLINE_DATABASE_URL" "secret" $database "entry" .Values.secrets.database.key) }}
{{- end }}

{{/* The environment of one service: all it needs and no secret that it does not. Takes {root, service, facts}. */}}
{{- define "syncline.environment" -}}
{{- $root := .root -}}
{{- $service := .service -}}
{{- $secrets := .root.Values.secrets -}}
- name: SYNCLINE_LISTEN
  value: "0.0.0.0:{{ .facts.port }}"
{{- with include "syncline.healthPort" . }}
- name: SYNCLINE_HEALTH_LISTEN
  value: "0.0.0.0:{{ . }}"
{{- end }}
{{- if $root.Values.mtls.enabled }}
{{ include "syncline.mtlsVariables" $root }}
{{- end }}
{{- range $peer, $facts := include "syncline.services" $root | fromYaml }}
{{- if ne $peer $service }}
- name: SYNCLINE_{{ upper $peer }}_URL
  value: "{{ include "syncline.scheme" (dict "root" $root "service" $peer) }}://{{ include "syncline.prefix" $root }}-{{ $peer }}:{{ $facts.port }}"
{{- end }}
{{- end }}
{{- if .facts.nats }}
{{ include "syncline.natsVariables" . }}
{{- end }}
{{ include "syncline.databaseVariable" $root }}
# The job of the release migrates before any pod starts.
- name: SYNCLINE_MIGRATE
  value: never
{{- if eq $service "gateway" }}
{{- $token := required "secrets.gatewayToken.name is empty: name an existing Secret that holds the API token of the gateway (see the chart's README.md)" $secrets.gatewayToken.name }}
{{ include "syncline.secretVariable" (dict "variable" "SYNCLINE_GATEWAY_TOKEN" "secret" $token "entry" $secrets.gatewayToken.key) }}
{{- with $root.Values.gateway }}
- name: SYNCLINE_GATEWAY_REQUESTS_PER_SECOND
  value: {{ .requestsPerSecond | quote }}
{{- if .tls.secret }}
- name: SYNCLINE_GATEWAY_TLS_CERT
  value: /etc/syncline/tls/tls.crt
- name: SYNCLINE_GATEWAY_TLS_KEY
  value: /etc/syncline/tls/tls.key
{{- else }}
# Something in front of the gateway ends TLS.
- name: SYNCLINE_GATEWAY_PLAINTEXT
  value: allow
{{- end }}
{{- if .oidc.issuer }}
- name: SYNCLINE_OIDC_ISSUER
  value: {{ .oidc.issuer | quote }}
- name: SYNCLINE_OIDC_AUDIENCE
  value: {{ required "gateway.oidc.audience is empty: say for whom the issuer's tokens are (see values.yaml)" .oidc.audience | quote }}
- name: SYNCLINE_OIDC_ROLES_CLAIM
  value: {{ .oidc.rolesClaim | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- range .facts.keys }}
{{- $keys := required "secrets.keys.name is empty: name an existing Secret that holds the installation's keys (see the chart's README.md)" $secrets.keys.name }}
{{ include "syncline.secretVariable" (dict "variable" (printf "SYNCLINE_KEY_%s" (. | upper | replace "-" "_")) "secret" $keys "entry" .) }}
{{- end }}
{{- with $root.Values.tenant }}
- name: SYNCLINE_TENANT
  value: {{ . | quote }}
{{- end }}
{{- with $root.Values.retention }}
{{- if eq $service "loader" }}
- name: SYNCLINE_RETENTION_REFUSALS_DAYS
  value: {{ .refusalsDays | quote }}
{{- else if eq $service "monitor" }}
- name: SYNCLINE_RETENTION_EVENTS_DAYS
  value: {{ .eventsDays | quote }}
- name: SYNCLINE_RETENTION_DEAD_LETTERS_DAYS
  value: {{ .deadLettersDays | quote }}
- name: SYNCLINE_RETENTION_REPORTS_DAYS
  value: {{ .reportsDays | quote }}
{{- end }}
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
