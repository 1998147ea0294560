"""The keys of Quadlet's own sections, for hints and for machines without Podman.

A table of facts from podman-systemd.unit(5). Podman's generator on the machine has the last word: a
host may know fewer of these keys, or more.
"""

from __future__ import annotations

_TABLE = {
    "Container": """
        AddCapability AddDevice AddHost Annotation AppArmor AutoUpdate CgroupsMode ContainerName
        ContainersConfModule DNS DNSOption DNSSearch DropCapability Entrypoint Environment
        EnvironmentFile EnvironmentHost Exec ExposeHostPort GIDMap GlobalArgs Group GroupAdd HealthCmd
        HealthInterval HealthLogDestination HealthMaxLogCount HealthMaxLogSize HealthOnFailure
        HealthRetries HealthStartPeriod HealthStartupCmd HealthStartupInterval HealthStartupRetries
        HealthStartupSuccess HealthStartupTimeout HealthTimeout HostName HttpProxy IP IP6 Image Label
        LogDriver LogOpt Mask Memory Mount Network NetworkAlias NoNewPrivileges Notify PidsLimit Pod
        PodmanArgs PublishPort Pull ReadOnly ReadOnlyTmpfs ReloadCmd ReloadSignal RemapGid RemapUid
        RemapUidSize RemapUsers Retry RetryDelay Rootfs RunInit SeccompProfile Secret
        SecurityLabelDisable SecurityLabelFileType SecurityLabelLevel SecurityLabelNested
        SecurityLabelType ServiceName ShmSize StartWithPod StopSignal StopTimeout SubGIDMap SubUIDMap
        Sysctl Timezone Tmpfs UIDMap Ulimit Unmask User UserNS VolatileTmp Volume WorkingDir
    """,
    "Pod": """
        AddHost ContainersConfModule DNS DNSOption DNSSearch ExitPolicy GIDMap GlobalArgs HostName IP
        IP6 Label Network NetworkAlias PodName PodmanArgs PublishPort RemapGid RemapUid RemapUidSize
        RemapUsers ServiceName ShmSize StopTimeout SubGIDMap SubUIDMap UIDMap UserNS Volume
    """,
    "Volume": """
        ContainersConfModule Copy Device Driver GID GlobalArgs Group Image Label Options PodmanArgs
        ServiceName Type UID User VolumeName
    """,
    "Network": """
        ContainersConfModule DNS DisableDNS Driver Gateway GlobalArgs IPAMDriver IPRange IPv6
        InterfaceName Internal Label NetworkDeleteOnStop NetworkName Options PodmanArgs ServiceName
        Subnet
    """,
    "Kube": """
        AutoUpdate ConfigMap ContainersConfModule ExitCodePropagation GlobalArgs KubeDownForce LogDriver
        LogOpt Network PodmanArgs PublishPort RemapGid RemapUid RemapUidSize RemapUsers ServiceName
        SetWorkingDirectory UserNS Yaml
    """,
    "Image": """
        AllTags Arch AuthFile CertDir ContainersConfModule Creds DecryptionKey GlobalArgs Image ImageTag
        OS PodmanArgs Policy Retry RetryDelay ServiceName TLSVerify Variant
    """,
    "Build": """
        Annotation Arch AuthFile BuildArg ContainersConfModule DNS DNSOption DNSSearch Environment File
        ForceRM GlobalArgs GroupAdd IgnoreFile ImageTag Label Network PodmanArgs Pull Retry RetryDelay
        Secret ServiceName SetWorkingDirectory TLSVerify Target Variant Volume
    """,
    "Quadlet": """
        DefaultDependencies
    """,
}

KEYS: dict[str, tuple[str, ...]] = {group: tuple(names.split()) for group, names in _TABLE.items()}

# The keys whose value may name another Quadlet file, and the suffixes that may stand there.
REFERENCES: dict[tuple[str, str], tuple[str, ...]] = {
    ("Container", "Image"): ("image", "build"),
    ("Container", "Volume"): ("volume",),
    ("Container", "Mount"): ("volume", "image", "build"),
    ("Container", "Network"): ("network", "container"),
    ("Container", "Pod"): ("pod",),
    ("Pod", "Network"): ("network",),
    ("Pod", "Volume"): ("volume",),
    ("Kube", "Network"): ("network",),
    ("Volume", "Image"): ("image",),
    ("Build", "Network"): ("network",),
    ("Build", "Volume"): ("volume",),
}
