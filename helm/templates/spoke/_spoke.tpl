{{/* What the spoke has of its own in the shared templates. */}}

{{- define "pattoo.spoke.configmap" -}}
{{- include "pattoo.configmap" (dict "component" (list . "spoke") "section" .Values.spoke.config) }}
{{- end }}

{{- define "pattoo.spoke.env" -}}
# In every post, and part of the agent_id: with the node's machine-id it outlives the pod.
- name: PATTOO_AGENT_OS_SPOKED__HOSTNAME
  valueFrom:
    fieldRef:
      fieldPath: spec.nodeName
{{- range $name, $mount := .Values.spoke.host }}
{{- if $mount.enabled }}
- name: HOST_{{ upper $name }}
  value: /host/{{ $name }}
{{- end }}
{{- end }}
{{- end }}

{{- define "pattoo.spoke.mounts" -}}
- name: daemon
  mountPath: /var/lib/pattoo/daemon
{{- range $name, $mount := .Values.spoke.host }}
{{- if $mount.enabled }}
- name: host-{{ $name }}
  mountPath: /host/{{ $name }}
  readOnly: true
  mountPropagation: {{ $mount.mountPropagation }}
{{- end }}
{{- end }}
{{- if not .Values.spoke.host.root.enabled }}
- name: machine-id
  mountPath: /etc/machine-id
  readOnly: true
{{- end }}
{{- end }}

{{- define "pattoo.spoke.volumes" -}}
{{- $paths := dict "proc" "/proc" "sys" "/sys" "root" "/" -}}
- name: daemon
  emptyDir:
    sizeLimit: 1Mi
{{- range $name, $mount := .Values.spoke.host }}
{{- if $mount.enabled }}
- name: host-{{ $name }}
  hostPath:
    path: {{ get $paths $name }}
    type: Directory
{{- end }}
{{- end }}
{{- if not .Values.spoke.host.root.enabled }}
- name: machine-id
  hostPath:
    path: /etc/machine-id
    type: File
{{- end }}
{{- end }}
