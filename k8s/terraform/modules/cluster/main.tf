# AKS: one pool for the system, one for the site, one with graphics processors that is empty when idle.

resource "azurerm_resource_group" "this" {
  name     = var.name
  location = var.location
  tags     = var.tags
}

resource "azurerm_virtual_network" "this" {
  name                = var.name
  location            = var.location
  resource_group_name = azurerm_resource_group.this.name
  address_space       = [var.network]
  tags                = var.tags
}

resource "azurerm_network_security_group" "nodes" {
  # checkov:skip=CKV_AZURE_160: Port 80 of a public site answers with the way to https, and to the questions of a certificate authority.
  name                = "${var.name}-nodes"
  location            = var.location
  resource_group_name = azurerm_resource_group.this.name
  tags                = var.tags
  # AKS opens its own group at the nodes' interfaces for its load balancer, and leaves this one at the
  # subnet alone: what is not said here is refused. What arrives still has the load balancer's public
  # address, so the rule is for any destination.
  security_rule {
    name                       = "visitors"
    priority                   = 100
    direction                  = "Inbound"
    access                     = "Allow"
    protocol                   = "Tcp"
    source_address_prefix      = "Internet"
    source_port_range          = "*"
    destination_address_prefix = "*"
    destination_port_ranges    = ["80", "443"]
  }
}

resource "azurerm_subnet" "nodes" {
  name                 = "nodes"
  resource_group_name  = azurerm_resource_group.this.name
  virtual_network_name = azurerm_virtual_network.this.name
  address_prefixes     = [cidrsubnet(var.network, 2, 0)]
}

resource "azurerm_subnet_network_security_group_association" "nodes" {
  subnet_id                 = azurerm_subnet.nodes.id
  network_security_group_id = azurerm_network_security_group.nodes.id
}

resource "azurerm_log_analytics_workspace" "this" {
  name                = var.name
  location            = var.location
  resource_group_name = azurerm_resource_group.this.name
  sku                 = "PerGB2018"
  retention_in_days   = var.log_days
  tags                = var.tags
}

resource "azurerm_kubernetes_cluster" "this" {
  # checkov:skip=CKV_AZURE_115: The API is public but closed to all networks except api_addresses; a private one needs a network of the operator's own.
  # checkov:skip=CKV_AZURE_117: Nodes keep nothing: their disks are ephemeral and encrypted at the host, so there is no disk for a key of one's own.
  # checkov:skip=CKV_AZURE_6: The ranges are api_addresses, which has no default; its own check refuses an empty list and all of the internet.
  name                = var.name
  location            = var.location
  resource_group_name = azurerm_resource_group.this.name
  dns_prefix          = var.name
  kubernetes_version  = var.kubernetes_version
  sku_tier            = "Standard"
  tags                = var.tags

  # Pods prove who they are with tokens that AWS and Azure check here: no cloud key is stored.
  oidc_issuer_enabled       = true
  workload_identity_enabled = true

  automatic_upgrade_channel = "patch"
  node_os_upgrade_channel   = "NodeImage"

  local_account_disabled            = true
  role_based_access_control_enabled = true
  azure_policy_enabled              = true
  run_command_enabled               = false

  azure_active_directory_role_based_access_control {
    azure_rbac_enabled     = true
    admin_group_object_ids = var.operators
  }

  api_server_access_profile {
    authorized_ip_ranges = var.api_addresses
  }

  identity {
    type = "SystemAssigned"
  }

  # Only what carries the cluster itself runs here.
  default_node_pool {
    name                         = "system"
    vm_size                      = "Standard_D2ds_v5"
    vnet_subnet_id               = azurerm_subnet.nodes.id
    auto_scaling_enabled         = true
    min_count                    = 2
    max_count                    = 3
    max_pods                     = 60
    os_disk_type                 = "Ephemeral"
    os_disk_size_gb              = 64
    host_encryption_enabled      = true
    only_critical_addons_enabled = true
    zones                        = ["1", "2", "3"]
    temporary_name_for_rotation  = "systemtmp"
    upgrade_settings {
      max_surge = "33%"
    }
  }

  # Addresses of pods are their own, so nodes and pods never run out of the same network; Cilium
  # enforces the chart's NetworkPolicies.
  network_profile {
    network_plugin      = "azure"
    network_plugin_mode = "overlay"
    network_data_plane  = "cilium"
    network_policy      = "cilium"
    load_balancer_sku   = "standard"
    pod_cidr            = "10.244.0.0/16"
    service_cidr        = "10.0.0.0/16"
    dns_service_ip      = "10.0.0.10"
  }

  auto_scaler_profile {
    # A GPU node goes ten minutes after its last pod.
    scale_down_unneeded              = "10m"
    scale_down_delay_after_add       = "10m"
    skip_nodes_with_system_pods      = false
    max_graceful_termination_sec     = "600"
    balance_similar_node_groups      = true
    expander                         = "least-waste"
    empty_bulk_delete_max            = "10"
    max_node_provisioning_time       = "20m"
    scale_down_utilization_threshold = "0.5"
  }

  key_vault_secrets_provider {
    secret_rotation_enabled = true
  }

  oms_agent {
    log_analytics_workspace_id      = azurerm_log_analytics_workspace.this.id
    msi_auth_for_monitoring_enabled = true
  }

  lifecycle {
    # The autoscaler's business.
    ignore_changes = [default_node_pool[0].node_count]
  }
}

resource "azurerm_monitor_diagnostic_setting" "control_plane" {
  name                       = "control-plane"
  target_resource_id         = azurerm_kubernetes_cluster.this.id
  log_analytics_workspace_id = azurerm_log_analytics_workspace.this.id
  dynamic "enabled_log" {
    for_each = ["kube-audit-admin", "kube-apiserver", "cluster-autoscaler", "guard"]
    content {
      category = enabled_log.value
    }
  }
}

resource "azurerm_kubernetes_cluster_node_pool" "cpu" {
  name                    = "cpu"
  kubernetes_cluster_id   = azurerm_kubernetes_cluster.this.id
  vm_size                 = var.cpu.size
  vnet_subnet_id          = azurerm_subnet.nodes.id
  auto_scaling_enabled    = true
  min_count               = var.cpu.min
  max_count               = var.cpu.max
  max_pods                = 60
  os_disk_type            = "Ephemeral"
  os_disk_size_gb         = 128
  host_encryption_enabled = true
  zones                   = ["1", "2", "3"]
  node_labels             = { "tumorsite.io/pool" = "cpu" }
  tags                    = var.tags
  upgrade_settings {
    max_surge = "33%"
  }
  lifecycle {
    ignore_changes = [node_count]
  }
}

resource "azurerm_kubernetes_cluster_node_pool" "gpu" {
  name                    = "gpu"
  kubernetes_cluster_id   = azurerm_kubernetes_cluster.this.id
  vm_size                 = var.gpu.size
  vnet_subnet_id          = azurerm_subnet.nodes.id
  auto_scaling_enabled    = true
  min_count               = 0
  max_count               = var.gpu.max
  max_pods                = 60
  os_disk_type            = "Ephemeral"
  os_disk_size_gb         = 128
  host_encryption_enabled = true
  priority                = var.gpu.spot ? "Spot" : "Regular"
  eviction_policy         = var.gpu.spot ? "Delete" : null
  spot_max_price          = var.gpu.spot ? -1 : null
  node_labels             = { "tumorsite.io/pool" = "gpu" }
  # What does not ask for a graphics processor must not keep the node alive.
  node_taints = concat(
    ["nvidia.com/gpu=present:NoSchedule"],
    var.gpu.spot ? ["kubernetes.azure.com/scalesetpriority=spot:NoSchedule"] : [],
  )
  tags = var.tags
  lifecycle {
    ignore_changes = [node_count]
  }
}
