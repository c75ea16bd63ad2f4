{{/*
The prefix of every name: the release, and the chart where the release's name does not say it. A Service's name allows no dot
and 63 characters, which leaves 51 beside the longest suffix, `-coordinator`.
*/}}
{{- define "syncline.prefix" -}}
{{- $prefix := .Release.Name | replace "." "-" -}}
{{- if not (contains .Chart.Name $prefix) -}}{{- $prefix = printf "%s-%s" $prefix .Chart.Name -}}{{- end -}}
{{- $prefix | trunc 51 | trimSuffix "-" -}}
{{- end }}

{{/* What selects the pods of one service. Takes {root, service}; it can never change for an installed release. */}}
{{- define "syncline.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .service }}
{{- end }}

{{/* All labels. Takes {root, service}. */}}
{{- define "syncline.labels" -}}
{{ include "syncline.selector" . }}
app.kubernetes.io/part-of: syncline
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "syncline.image" -}}
{{- $repository := required "image.repository is empty: no image of Syncline is published, so set it to one that you built (see the chart's README.md)" .Values.image.repository -}}
{{- if .Values.image.digest -}}
{{ $repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ $repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* What holds for every pod. Takes the root. */}}
{{- define "syncline.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ int64 .Values.runAsUser }}
runAsGroup: {{ int64 .Values.runAsUser }}
fsGroup: {{ int64 .Values.runAsUser }}
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* What holds for every container: nothing is written to disk, not even to a temporary file. */}}
{{- define "syncline.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}
