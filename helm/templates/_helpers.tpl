{{/*
What spoke and hub share. A template that is called with (list $ "spoke") or (list $ "hub") finds the chart in the first and
the component in the second.
*/}}

{{- define "pattoo.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Short enough for the longest word that is put behind it. */}}
{{- define "pattoo.fullname" -}}
{{- $name := include "pattoo.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "pattoo.component.name" -}}
{{ include "pattoo.fullname" (first .) }}-{{ last . }}
{{- end }}

{{/* Whose values, program and configuration a component has: the test runs the hub's program. */}}
{{- define "pattoo.of" -}}
{{ eq (last .) "test" | ternary "hub" (last .) }}
{{- end }}

{{- define "pattoo.program" -}}
pattoo_agent_os_{{ include "pattoo.of" . }}d
{{- end }}

{{- define "pattoo.port" -}}
{{ int (index (first .).Values (include "pattoo.of" .)).config.ip_bind_port }}
{{- end }}

{{/* What never changes of the labels: selectors are made of it. */}}
{{- define "pattoo.selector" -}}
app.kubernetes.io/name: {{ include "pattoo.name" (first .) | quote }}
app.kubernetes.io/instance: {{ (first .).Release.Name | quote }}
app.kubernetes.io/component: {{ last . }}
{{- end }}

{{- define "pattoo.labels" -}}
{{- $root := first . -}}
{{ include "pattoo.selector" . }}
app.kubernetes.io/part-of: pattoo
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Name, namespace and labels of an object of a component. */}}
{{- define "pattoo.metadata" -}}
name: {{ include "pattoo.component.name" . }}
namespace: {{ (first .).Release.Namespace }}
labels:
  {{- include "pattoo.labels" . | nindent 2 }}
{{- end }}

{{- define "pattoo.image" -}}
{{- $root := first . }}
{{- $image := (index $root.Values (include "pattoo.of" .)).image }}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ default $root.Chart.AppVersion $image.tag }}
{{- end }}
{{- end }}

{{/* The ConfigMap, a file for each of the program's: the caller gives the program's section and pattoo_agent_api, where it has one. */}}
{{- define "pattoo.configmap" -}}
{{- $component := .component }}
{{- $shared := dict "pattoo" (first $component).Values.config.pattoo }}
{{- with .api }}
{{- $shared = merge $shared (dict "pattoo_agent_api" .) }}
{{- end -}}
apiVersion: v1
kind: ConfigMap
metadata:
  {{- include "pattoo.metadata" $component | nindent 2 }}
data:
  pattoo.yaml: |
    {{- toYaml $shared | nindent 4 }}
  {{ include "pattoo.program" $component }}.yaml: |
    {{- toYaml (dict (include "pattoo.program" $component) .section) | nindent 4 }}
{{- end }}

{{/* How Prometheus Operator asks a component. */}}
{{- define "pattoo.scrape" -}}
- port: http
  path: /metrics
  {{- with .interval }}
  interval: {{ . }}
  {{- end }}
  {{- with .scrapeTimeout }}
  scrapeTimeout: {{ . }}
  {{- end }}
{{- end }}

{{/* By whom a component may be reached on its port. Nobody is a rule less: an empty "from" would be everybody. */}}
{{- define "pattoo.ingress" -}}
{{- with . -}}
ingress:
  - ports:
      - port: http
        protocol: TCP
    from:
      {{- toYaml . | nindent 6 }}
{{- else -}}
ingress: []
{{- end }}
{{- end }}

{{/* One that probes a path of the component's, with the timing and the component's configuration that the caller gives. */}}
{{- define "pattoo.probe" -}}
{{- $config := last . -}}
httpGet:
  path: {{ first . }}
  port: {{ ternary "health" "http" (hasKey $config "health_port") }}
{{- if and $config.tls_certificate_file (not (hasKey $config "health_port")) }}
  scheme: HTTPS
{{- end }}
{{- with index . 1 }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The metadata of a pod. */}}
{{- define "pattoo.pod.metadata" -}}
{{- $root := first . }}
{{- $values := index $root.Values (include "pattoo.of" .) -}}
labels:
  {{- include "pattoo.labels" . | nindent 2 }}
  {{- with $values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- $annotations := dict }}
{{- if $root.Values.restartOnConfigChange }}
{{- $_ := set $annotations "checksum/config" (include (printf "pattoo.%s.configmap" (last .)) $root | sha256sum) }}
{{- end }}
{{- with merge $annotations $values.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* What is the same in every pod of ours: nobody is privileged, and nobody may ask the Kubernetes API. */}}
{{- define "pattoo.pod" -}}
{{- $root := first . }}
{{- $values := index $root.Values (include "pattoo.of" .) -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with $values.serviceAccountName }}
serviceAccountName: {{ . }}
{{- end }}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  # Of its own volumes; those of the host keep their owners.
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  {{- with $values.supplementalGroups }}
  supplementalGroups:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.seLinuxOptions }}
  seLinuxOptions:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  seccompProfile:
    {{- toYaml $values.seccompProfile | nindent 4 }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* What is the same in every container of ours. */}}
{{- define "pattoo.container" -}}
{{- $root := first . }}
{{- $values := index $root.Values (include "pattoo.of" .) -}}
image: {{ include "pattoo.image" . }}
imagePullPolicy: {{ $values.image.pullPolicy }}
securityContext:
  privileged: false
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- with $values.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
env:
  # The image of the hub says it in its environment, which wins over files: so it is told here, for both.
  - name: {{ include "pattoo.program" . | upper }}__IP_LISTEN_ADDRESS
    value: {{ $root.Values.listenAddress | quote }}
  {{- with include (printf "pattoo.%s.env" (last .)) $root }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- with $values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
volumeMounts:
  # Folders, never single files: a file that is mounted alone does not follow its ConfigMap.
  - name: config
    mountPath: /etc/pattoo
    readOnly: true
  - name: run
    mountPath: /run/pattoo
  {{- range $values.secrets }}
  - name: secret-{{ . }}
    mountPath: /etc/pattoo-secrets/{{ . }}
    readOnly: true
  {{- end }}
  {{- with include (printf "pattoo.%s.mounts" (last .)) $root }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- with $values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* The running program: its port and its probes. */}}
{{- define "pattoo.served" -}}
{{- $values := index (first .).Values (include "pattoo.of" .) -}}
{{- $probes := $values.probes -}}
args: ["--start", "--foreground"]
ports:
  - name: http
    containerPort: {{ include "pattoo.port" . }}
    protocol: TCP
  {{- with $values.config.health_port }}
  - name: health
    containerPort: {{ . }}
    protocol: TCP
  {{- end }}
startupProbe:
  {{- include "pattoo.probe" (list "/livez" $probes.startup $values.config) | nindent 2 }}
livenessProbe:
  {{- include "pattoo.probe" (list "/livez" $probes.liveness $values.config) | nindent 2 }}
readinessProbe:
  {{- include "pattoo.probe" (list "/readyz" $probes.readiness $values.config) | nindent 2 }}
{{- end }}

{{- define "pattoo.volumes" -}}
{{- $values := index (first .).Values (include "pattoo.of" .) -}}
- name: config
  configMap:
    name: {{ include "pattoo.component.name" (list (first .) (include "pattoo.of" .)) }}
# Pid and lock: for --status and --queue in the container.
- name: run
  emptyDir:
    medium: Memory
    sizeLimit: 1Mi
{{- range $values.secrets }}
- name: secret-{{ . }}
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- with include (printf "pattoo.%s.volumes" (last .)) (first .) }}
{{ . }}
{{- end }}
{{- with $values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}
