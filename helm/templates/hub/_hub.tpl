{{/* What the hub has of its own in the shared templates. */}}

{{/* Whether there is a pattoo server: the text "true", or nothing. */}}
{{- define "pattoo.hub.delivers" -}}
{{- $api := .Values.config.pattoo_agent_api }}
{{- if and $api.ip_address (ne (toString $api.enabled) "false") }}true{{ end }}
{{- end }}

{{- define "pattoo.hub.configmap" -}}
{{- $config := .Values.hub.config }}
{{- $targets := list }}
{{- if and .Values.spoke.enabled (ne .Values.hub.discovery "none") }}
{{- $spoke := list . "spoke" }}
{{- $target := dict "ip_address" (include "pattoo.component.name" $spoke) "ip_bind_port" (include "pattoo.port" $spoke | int) }}
{{- if eq .Values.hub.discovery "all" }}
{{- $_ := set $target "resolve" "all" }}
{{- end }}
{{- $targets = list $target }}
{{- end }}
{{- $targets = concat $targets $config.ip_devices }}
{{- if not (or $targets $config.receive) }}
{{- fail "the hub has nothing to do: hub.discovery finds no spokes, hub.config.ip_devices is empty, and hub.config.receive is not true" }}
{{- end }}
{{- $api := deepCopy .Values.config.pattoo_agent_api }}
{{- if not (include "pattoo.hub.delivers" .) }}
{{- $_ := set $api "enabled" false }}
{{- end }}
{{- $section := omit $config "ip_devices" }}
{{- with $targets }}
{{- $_ := set $section "ip_devices" . }}
{{- end }}
{{- include "pattoo.configmap" (dict "component" (list . "hub") "section" $section "api" $api) }}
{{- end }}

{{- define "pattoo.hub.env" }}{{ end }}
{{- define "pattoo.test.env" }}{{ end }}
{{- define "pattoo.test.mounts" }}{{ end }}
{{- define "pattoo.test.volumes" }}{{ end }}

{{- define "pattoo.hub.mounts" -}}
# cache_directory and daemon_directory are folders of it.
- name: data
  mountPath: /var/lib/pattoo
{{- end }}

{{- define "pattoo.hub.volumes" -}}
{{- $persistence := .Values.hub.persistence -}}
- name: data
  {{- if $persistence.enabled }}
  persistentVolumeClaim:
    claimName: {{ default (include "pattoo.component.name" (list . "hub")) $persistence.existingClaim }}
  {{- else }}
  emptyDir:
    sizeLimit: {{ $persistence.size }}
  {{- end }}
{{- end }}
