{{/* How a service is spoken to: http or https. Takes {root, service}. The gateway's TLS is for callers from outside. */}}
{{- define "syncline.scheme" -}}
{{- $tls := .root.Values.mtls.enabled -}}
{{- if eq .service "gateway" -}}{{- $tls = .root.Values.gateway.tls.secret -}}{{- end -}}
http{{ if $tls }}s{{ end }}
{{- end }}

{{/*
The port on which a service answers health alone, without TLS, because the kubelet's gRPC probes speak none. Empty where its
own port speaks none either. Takes {root, service}. No network policy opens it: a node always reaches its own pods.
*/}}
{{- define "syncline.healthPort" -}}
{{- if or .root.Values.mtls.enabled (and (eq .service "gateway") .root.Values.gateway.tls.secret) -}}7690{{- end -}}
{{- end }}

{{/* Whom a service trusts, and what it shows. Takes the root. */}}
{{- define "syncline.mtlsVariables" -}}
- name: SYNCLINE_TLS_CA
  value: /etc/syncline/mtls/ca.crt
- name: SYNCLINE_TLS_CERT
  value: /etc/syncline/mtls/tls.crt
- name: SYNCLINE_TLS_KEY
  value: /etc/syncline/mtls/tls.key
{{- end }}

{{/* Where its certificates are mounted; empty where it has none. Takes {root, service}. */}}
{{- define "syncline.tlsMounts" -}}
{{- if .root.Values.mtls.enabled }}
- name: mtls
  mountPath: /etc/syncline/mtls
  readOnly: true
{{- end }}
{{- if and (eq .service "gateway") .root.Values.gateway.tls.secret }}
- name: tls
  mountPath: /etc/syncline/tls
  readOnly: true
{{- end }}
{{- end }}

{{/* The same as volumes. An entry that is missing keeps the pod from starting, and its events say which. */}}
{{- define "syncline.tlsVolumes" -}}
{{- if .root.Values.mtls.enabled }}
{{- $prefix := required "mtls.secretPrefix is empty: name the prefix of the existing Secrets that hold each service's certificate (see the chart's README.md)" .root.Values.mtls.secretPrefix }}
- name: mtls
  secret:
    secretName: {{ $prefix }}-{{ .service }}
    # For the pod's group, which is its user's.
    defaultMode: 0440
    items:
      - {key: ca.crt, path: ca.crt}
      - {key: tls.crt, path: tls.crt}
      - {key: tls.key, path: tls.key}
{{- end }}
{{- if and (eq .service "gateway") .root.Values.gateway.tls.secret }}
- name: tls
  secret:
    secretName: {{ .root.Values.gateway.tls.secret }}
    defaultMode: 0440
    items:
      - {key: tls.crt, path: tls.crt}
      - {key: tls.key, path: tls.key}
{{- end }}
{{- end }}
