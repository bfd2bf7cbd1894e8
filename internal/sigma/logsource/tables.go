package logsource

import "ashiato/internal/event"

// categories that our events know. Sources: the Sigma taxonomy appendix (Sysmon
// ids per category) and the kinds' own tables in package normalize.
var categories = []category{
	{name: "process_creation", events: []what{{kind: event.ProcessCreate}}},
	{name: "process_termination", events: []what{{kind: event.ProcessTerminate}}},
	{name: "process_access", events: []what{{kind: event.ProcessAccess}}},
	{name: "process_tampering", events: []what{{kind: event.ProcessTamper}}},
	{name: "create_remote_thread", events: []what{{kind: event.RemoteThread}}},
	{name: "image_load", events: []what{{kind: event.ImageLoad}}},
	{name: "driver_load", events: []what{{kind: event.DriverLoad}}},
	{name: "raw_access_thread", events: []what{{kind: event.RawRead}}},
	{name: "file_event", events: []what{{kind: event.FileCreate}}},
	{name: "file_change", events: []what{{kind: event.FileTime}}},
	{name: "file_delete", events: []what{{kind: event.FileDelete}}},
	{name: "file_rename", events: []what{{kind: event.FileRename}}},
	{name: "file_access", events: []what{{kind: event.FileAccess}, {log: kernelFile}}, aliases: map[string]string{"FileName": "TargetFilename"}},
	{name: "file_executable_detected", events: []what{{kind: event.FileExecutable}}},
	{name: "file_block_executable", events: []what{{kind: event.FileBlocked, ids: []uint32{27}}}},
	{name: "file_block_shredding", events: []what{{kind: event.FileBlocked, ids: []uint32{28}}}},
	{name: "create_stream_hash", events: []what{{kind: event.FileStream}}},
	{name: "registry_event", events: []what{{kind: event.RegistryAdd}, {kind: event.RegistryDelete}, {kind: event.RegistrySet}, {kind: event.RegistryRename}}},
	{name: "registry_add", events: []what{{kind: event.RegistryAdd}}},
	{name: "registry_delete", events: []what{{kind: event.RegistryDelete}}},
	{name: "registry_set", events: []what{{kind: event.RegistrySet}}},
	{name: "registry_rename", events: []what{{kind: event.RegistryRename}}},
	{name: "pipe_created", events: []what{{kind: event.PipeCreate}, {kind: event.PipeConnect}}},
	{name: "wmi_event", events: []what{{kind: event.WMIFilter}, {kind: event.WMIConsumer}, {kind: event.WMIBinding}}},
	{name: "network_connection", events: []what{{kind: event.NetworkConnect}}},
	{name: "dns_query", events: []what{{kind: event.DNSQuery}}},
	{name: "clipboard_capture", events: []what{{kind: event.Clipboard}}},
	{name: "sysmon_status", events: []what{{kind: event.SensorState, ids: []uint32{4, 16}}}},
	{name: "sysmon_error", events: []what{{kind: event.SensorLoss, ids: []uint32{255}}}},
	{name: "ps_script", events: []what{{kind: event.ScriptBlock}}},
	{name: "ps_module", events: []what{{kind: event.ScriptModule}}},
	{name: "ps_classic_start", events: []what{{kind: event.ScriptClassic, ids: []uint32{400}}}},
	{name: "ps_classic_provider_start", events: []what{{kind: event.ScriptClassic, ids: []uint32{600}}}},
	{name: "ps_classic_script", events: []what{{kind: event.ScriptClassic, ids: []uint32{800}}}},
	// What no log of Windows shows: categories of our own, for the sensor's records.
	{name: "volume_attach", events: []what{{kind: event.VolumeAttach}}},
	{name: "volume_detach", events: []what{{kind: event.VolumeDetach}}},
	{name: "file_attribute", events: []what{{kind: event.FileAttribute}}},
	{name: "shortcut", events: []what{{kind: event.Shortcut}}},
	{name: "resource_use", events: []what{{kind: event.ResourceUse}}},
	{name: "antivirus", events: []what{{kind: event.MalwareFound}, {kind: event.MalwareActed}}, aliases: map[string]string{"Signature": "ThreatName", "Filename": "Path"}},
}

const kernelFile = "Microsoft-Windows-Kernel-File/Analytic"

// otherCategories are Sigma's categories of logs that are not endpoint records.
// Rules for them load; a record must name the category to be of it.
var otherCategories = []string{
	"application", "appliance", "authentication", "database", "dns", "firewall", "proxy", "webserver", "email", "ids",
	"network", "edr", "file_download",
}

// services are the logs of Windows, by channel. Sources: the Sigma taxonomy
// appendix and the channel names in the Windows event manifests.
var services = []service{
	{name: "application", channels: []string{"Application"}},
	{name: "security", channels: []string{"Security"}},
	{name: "system", channels: []string{"System"}},
	{name: "sysmon", channels: []string{"Microsoft-Windows-Sysmon/Operational"}},
	{name: "powershell", channels: []string{"Microsoft-Windows-PowerShell/Operational", "PowerShellCore/Operational"}},
	{name: "powershell-classic", channels: []string{"Windows PowerShell"}},
	{name: "taskscheduler", channels: []string{"Microsoft-Windows-TaskScheduler/Operational"}},
	{name: "windefend", channels: []string{"Microsoft-Windows-Windows Defender/Operational"}},
	{name: "wmi", channels: []string{"Microsoft-Windows-WMI-Activity/Operational"}},
	{name: "dns-server", channels: []string{"DNS Server"}},
	{name: "dns-server-analytic", channels: []string{"Microsoft-Windows-DNS-Server/Analytical"}},
	{name: "dns-server-audit", channels: []string{"Microsoft-Windows-DNSServer/Audit", "Microsoft-Windows-DNS-Server/Audit"}},
	{name: "dns-client", channels: []string{"Microsoft-Windows-DNS Client Events/Operational", "Microsoft-Windows-DNS-Client/Operational"}},
	{name: "bits-client", channels: []string{"Microsoft-Windows-Bits-Client/Operational"}},
	{name: "codeintegrity-operational", channels: []string{"Microsoft-Windows-CodeIntegrity/Operational"}},
	{name: "ntlm", channels: []string{"Microsoft-Windows-NTLM/Operational"}},
	{name: "driver-framework", channels: []string{"Microsoft-Windows-DriverFrameworks-UserMode/Operational"}},
	{name: "dhcp", channels: []string{"Microsoft-Windows-DHCP-Server/Operational"}},
	{name: "terminalservices-localsessionmanager", channels: []string{"Microsoft-Windows-TerminalServices-LocalSessionManager/Operational"}},
	{name: "terminalservices-remoteconnectionmanager", channels: []string{"Microsoft-Windows-TerminalServices-RemoteConnectionManager/Operational"}},
	{name: "terminalservices-rdpclient", channels: []string{"Microsoft-Windows-TerminalServices-RDPClient/Operational"}},
	{name: "firewall-as", channels: []string{"Microsoft-Windows-Windows Firewall With Advanced Security/Firewall"}},
	{name: "applocker", channels: []string{"Microsoft-Windows-AppLocker/MSI and Script", "Microsoft-Windows-AppLocker/EXE and DLL", "Microsoft-Windows-AppLocker/Packaged app-Deployment", "Microsoft-Windows-AppLocker/Packaged app-Execution"}},
	{name: "printservice-admin", channels: []string{"Microsoft-Windows-PrintService/Admin"}},
	{name: "printservice-operational", channels: []string{"Microsoft-Windows-PrintService/Operational"}},
	{name: "smbclient-security", channels: []string{"Microsoft-Windows-SmbClient/Security"}},
	{name: "smbclient-connectivity", channels: []string{"Microsoft-Windows-SmbClient/Connectivity"}},
	{name: "smbserver-connectivity", channels: []string{"Microsoft-Windows-SMBServer/Connectivity"}},
	{name: "msexchange-management", channels: []string{"MSExchange Management"}},
	{name: "openssh", channels: []string{"OpenSSH/Operational"}},
	{name: "ldap", channels: []string{"Microsoft-Windows-LDAP-Client/Debug"}},
	{name: "ldap_debug", channels: []string{"Microsoft-Windows-LDAP-Client/Debug"}},
	{name: "appxdeployment-server", channels: []string{"Microsoft-Windows-AppXDeploymentServer/Operational"}},
	{name: "appxpackaging-om", channels: []string{"Microsoft-Windows-AppxPackaging/Operational"}},
	{name: "appmodel-runtime", channels: []string{"Microsoft-Windows-AppModel-Runtime/Admin"}},
	{name: "diagnosis-scripted", channels: []string{"Microsoft-Windows-Diagnosis-Scripted/Operational"}},
	{name: "shell-core", channels: []string{"Microsoft-Windows-Shell-Core/Operational"}},
	{name: "capi2", channels: []string{"Microsoft-Windows-CAPI2/Operational"}},
	{name: "lsa-server", channels: []string{"Microsoft-Windows-LSA/Operational"}},
	{name: "certificateservicesclient-lifecycle-system", channels: []string{"Microsoft-Windows-CertificateServicesClient-Lifecycle-System/Operational"}},
	{name: "sense", channels: []string{"Microsoft-Windows-SENSE/Operational"}},
	{name: "servicebus-client", channels: []string{"Microsoft-ServiceBus-Client/Operational", "Microsoft-ServiceBus-Client/Admin"}},
	{name: "microsoft-servicebus-client", channels: []string{"Microsoft-ServiceBus-Client/Operational", "Microsoft-ServiceBus-Client/Admin"}},
	{name: "vhdmp", channels: []string{"Microsoft-Windows-VHDMP/Operational", "Microsoft-Windows-VHDMP-Operational"}},
	{name: "security-mitigations", channels: []string{"Microsoft-Windows-Security-Mitigations/Kernel Mode", "Microsoft-Windows-Security-Mitigations/User Mode"}},
	{name: "iis-configuration", channels: []string{"Microsoft-IIS-Configuration/Operational"}},
	{name: "kernel-event-tracing", channels: []string{"Microsoft-Windows-Kernel-EventTracing/Admin"}},
	{name: "kernel-shimengine", channels: []string{"Microsoft-Windows-Kernel-ShimEngine/Operational", "Microsoft-Windows-Kernel-ShimEngine/Diagnostic"}},
	{name: "ntfs", channels: []string{"Microsoft-Windows-Ntfs/Operational"}},
	{name: "hyper-v-worker", channels: []string{"Microsoft-Windows-Hyper-V-Worker"}},
	{name: "microsoft-windows-kernel-file", channels: []string{kernelFile}},
	{name: "application-experience", channels: []string{"Microsoft-Windows-Application-Experience/Program-Telemetry", "Microsoft-Windows-Application-Experience/Program-Compatibility-Assistant"}},
}

// products that Sigma's rules name.
var products = []string{
	"windows", "linux", "macos", "apache", "aws", "azure", "bitbucket", "cisco", "django", "fortios", "fortigate",
	"gcp", "github", "google_workspace", "huawei", "jvm", "juniper", "kubernetes", "m365", "modsecurity", "nginx",
	"nodejs", "okta", "onelogin", "opencanary", "paloalto", "python", "qualys", "ruby_on_rails", "rpc_firewall", "spring",
	"sql", "unix", "velocity", "vmware", "zeek", "sonicwall", "checkpoint", "ivanti", "citrix", "cloudflare", "openbsd", "freebsd",
}

// unixServices are logs whose records are of the product linux.
var unixServices = []string{
	"auditd", "auth", "clamav", "cron", "guacamole", "modsecurity", "sshd", "sudo", "syslog", "vsftpd", "journald",
}

// otherServices are services that rules name without a product.
var otherServices = append([]string{"apache", "nginx", "okta", "dce_rpc", "dns", "http", "kerberos", "smb_files", "x509", "rdp"}, unixServices...)
