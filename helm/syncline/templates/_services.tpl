{{/*
What the services are, apart from what an operator chooses. The ports are libs/runtime's PORTS. `keys` are the entries
of the Secret of keys that a service asks for when it starts or works; that nobody has more is what keeps raw data from
the loader and credentials from everybody but the connector. `platform` says whether it talks to NATS and PostgreSQL.
helm/check_rendered.py holds both against the sources.
*/}}
{{- define "syncline.services" -}}
gateway: {port: 7600, keys: [], platform: false}
coordinator: {port: 7601, keys: [], platform: true}
connector: {port: 7602, keys: [credentials, kek-raw, kek-clean], platform: true}
analyzer: {port: 7603, keys: [], platform: true}
extractor: {port: 7604, keys: [kek-raw, digest], platform: true}
masker: {port: 7605, keys: [kek-raw, kek-clean, mask, digest], platform: true}
loader: {port: 7606, keys: [kek-clean, digest], platform: true}
monitor: {port: 7607, keys: [], platform: true}
{{- end }}
