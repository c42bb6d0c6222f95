{{- define "tripline.name" -}}
{{- if contains "tripline" .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-tripline" .Release.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{/* Labels that select the pods of a role; these cannot change in an upgrade. */}}
{{- define "tripline.selector" -}}
app.kubernetes.io/name: tripline
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .role }}
{{- end }}

{{- define "tripline.labels" -}}
{{ include "tripline.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{/* Environment variable -> which of .Values.secrets, and the roles that get it: what they need, no more. The responder is
the one that may write to Kong, so `tripline kong connect` runs there and gets what it puts into the plugin. */}}
{{- define "tripline.secretEnv" -}}
TRIPLINE_BUS__KAFKA__SASL__USERNAME: { secret: kafkaUsername, roles: [collector, processor, archiver, responder] }
TRIPLINE_BUS__KAFKA__SASL__PASSWORD: { secret: kafkaPassword, roles: [collector, processor, archiver, responder] }
TRIPLINE_STATE__REDIS__PASSWORD: { secret: redisPassword, roles: [processor, responder] }
TRIPLINE_LAKE__CLICKHOUSE__PASSWORD: { secret: clickhousePassword, roles: [archiver] }
TRIPLINE_COLLECTOR__TOKEN: { secret: collectorToken, roles: [collector, responder] }
TRIPLINE_KONG__FINGERPRINT_KEY: { secret: fingerprintKey, roles: [responder] }
TRIPLINE_KONG__ADMIN_TOKEN: { secret: kongAdminToken, roles: [responder] }
TRIPLINE_WEBHOOKS: { secret: webhooks, roles: [responder] }
{{- end }}

{{/* The pod of a role: (dict "root" $ "role" "processor"). */}}
{{- define "tripline.pod" -}}
{{- $root := .root }}
{{- $role := .role }}
{{- $values := $root.Values }}
{{- $own := index $values $role }}
{{- $isCollector := eq $role "collector" }}
{{- $isResponder := eq $role "responder" }}
{{- $needsTokenKey := or $isCollector $isResponder -}}
metadata:
  labels:
    {{- include "tripline.labels" . | nindent 4 }}
  annotations:
    checksum/config: {{ toJson $values.config | sha256sum }}
spec:
  serviceAccountName: {{ include "tripline.name" $root }}
  automountServiceAccountToken: false
  # Kubernetes would put variables such as TRIPLINE_COLLECTOR_PORT into the environment, which are no configuration of ours.
  enableServiceLinks: false
  # Longer than the pause before the stop and the 25 s within which a role stops.
  terminationGracePeriodSeconds: 45
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    fsGroup: 10001
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile:
      type: RuntimeDefault
  {{- with $values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  topologySpreadConstraints:
    {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "tripline.selector" (dict "root" $root "role" $role) | nindent 10 }}
    {{- end }}
  containers:
    - name: {{ $role }}
      image: "{{ $values.image.repository }}:{{ $values.image.tag | default $root.Chart.AppVersion }}"
      imagePullPolicy: {{ $values.image.pullPolicy }}
      args: [{{ $role }}]
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities:
          drop: [ALL]
      env:
        - name: TRIPLINE_CONFIG
          value: /etc/tripline/config/tripline.json
        {{- range $name, $use := fromYaml (include "tripline.secretEnv" $root) }}
        {{- $from := index $values.secrets $use.secret }}
        {{- if and $from.name (has $role $use.roles) }}
        - name: {{ $name }}
          valueFrom:
            secretKeyRef: { name: {{ $from.name }}, key: {{ $from.key }} }
        {{- end }}
        {{- end }}
        {{- if and $isCollector $own.tlsSecret }}
        - name: TRIPLINE_COLLECTOR__TLS__CERT_FILE
          value: /etc/tripline/tls/tls.crt
        - name: TRIPLINE_COLLECTOR__TLS__KEY_FILE
          value: /etc/tripline/tls/tls.key
        {{- end }}
        {{- if and $isCollector $own.httpLog }}
        - name: TRIPLINE_COLLECTOR__HTTP__PORT
          value: '9603'
        {{- end }}
        {{- if $isResponder }}
        - name: TRIPLINE_POLICIES_FILE
          value: /etc/tripline/policies/policies.json
        {{- range $name, $value := $own.env }}
        - name: {{ $name }}
          value: {{ $value | quote }}
        {{- end }}
        {{- end }}
        {{- if $needsTokenKey }}
        - name: TRIPLINE_SANITIZE__KEY_FILE
          value: /etc/tripline/token-key/token.key
        {{- end }}
      ports:
        - { name: observe, containerPort: 9602 }
        {{- if $isCollector }}
        - { name: lines, containerPort: 9600 }
        {{- if $own.tlsSecret }}
        - { name: lines-tls, containerPort: 9601 }
        {{- end }}
        {{- if $own.httpLog }}
        - { name: http-log, containerPort: 9603 }
        {{- end }}
        {{- end }}
      # Alive: the loop turns; a restart helps. Ready: it can do its work; waiting for Kafka or Redis is no reason to restart.
      startupProbe:
        httpGet: { path: /healthz, port: observe }
        periodSeconds: 2
        failureThreshold: 30
      livenessProbe:
        httpGet: { path: /healthz, port: observe }
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 3
      readinessProbe:
        httpGet: { path: /readyz, port: observe }
        periodSeconds: 5
        timeoutSeconds: 5
      {{- if $isCollector }}
      lifecycle:
        # Until no new connection is sent here any more.
        preStop:
          exec:
            command: [sleep, '5']
      {{- end }}
      resources:
        {{- toYaml $own.resources | nindent 8 }}
      volumeMounts:
        - { name: config, mountPath: /etc/tripline/config, readOnly: true }
        {{- if $isCollector }}
        - { name: spool, mountPath: /var/lib/tripline }
        {{- if $own.tlsSecret }}
        - { name: tls, mountPath: /etc/tripline/tls, readOnly: true }
        {{- end }}
        {{- end }}
        {{- if $isResponder }}
        - { name: policies, mountPath: /etc/tripline/policies, readOnly: true }
        {{- end }}
        {{- if $needsTokenKey }}
        - { name: token-key, mountPath: /etc/tripline/token-key, readOnly: true }
        {{- end }}
        {{- range $index, $file := $values.files }}
        - { name: files-{{ $index }}, mountPath: {{ $file.mountPath }}, readOnly: true }
        {{- end }}
  volumes:
    - name: config
      configMap:
        name: {{ include "tripline.name" $root }}-config
    {{- if and $isCollector (not $own.spool.persistent) }}
    - name: spool
      emptyDir:
        sizeLimit: {{ $own.spool.size }}
    {{- end }}
    {{- if and $isCollector $own.tlsSecret }}
    - name: tls
      secret:
        secretName: {{ $own.tlsSecret }}
    {{- end }}
    {{- if $isResponder }}
    - name: policies
      configMap:
        name: {{ include "tripline.name" $root }}-policies
    {{- end }}
    {{- if $needsTokenKey }}
    - name: token-key
      secret:
        secretName: {{ required "secrets.tokenKey.name: make a Secret with the key of the tokens, see values.yaml" $values.secrets.tokenKey.name }}
        items:
          - { key: {{ $values.secrets.tokenKey.key }}, path: token.key }
    {{- end }}
    {{- range $index, $file := $values.files }}
    - name: files-{{ $index }}
      secret:
        secretName: {{ $file.secret }}
    {{- end }}
{{- end }}
