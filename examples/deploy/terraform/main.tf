# The WebSocket API that `npx sallyport gateway export` prints. A test compares both.

terraform {
  required_version = ">= 1.5"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
    random = {
      source  = "hashicorp/random"
      version = ">= 3.5"
    }
  }
}

data "aws_partition" "current" {}
data "aws_region" "current" {}
data "aws_caller_identity" "current" {}

locals {
  routes = {
    "$connect"    = "connect"
    "$disconnect" = "disconnect"
    "$default"    = "default"
  }
  answered_routes = var.replies == "route" ? toset(["$default"]) : toset([])
  call_arn        = "arn:${data.aws_partition.current.partition}:execute-api:${data.aws_region.current.id}:${data.aws_caller_identity.current.account_id}:${aws_apigatewayv2_api.this.id}"

  # A client could set a header itself at $connect if an integration did not map it.
  context_headers = {
    "integration.request.header.connectionId"                  = "context.connectionId"
    "integration.request.header.x-sallyport-source-ip"         = "context.identity.sourceIp"
    "integration.request.header.x-sallyport-route-key"         = "context.routeKey"
    "integration.request.header.x-sallyport-event-type"        = "context.eventType"
    "integration.request.header.x-sallyport-request-id"        = "context.requestId"
    "integration.request.header.x-sallyport-connected-at"      = "context.connectedAt"
    "integration.request.header.x-sallyport-domain-name"       = "context.domainName"
    "integration.request.header.x-sallyport-stage"             = "context.stage"
    "integration.request.header.x-sallyport-disconnect-code"   = "context.disconnectStatusCode"
    "integration.request.header.x-sallyport-disconnect-reason" = "context.disconnectReason"
  }
}

# The secret is part of the state. Encrypt the state, and restrict access to it.
resource "random_password" "secret" {
  count   = var.target_url == null ? 0 : 1
  length  = 64
  special = false
}

resource "aws_apigatewayv2_api" "this" {
  name                         = var.name
  protocol_type                = "WEBSOCKET"
  route_selection_expression   = "$request.body.action"
  api_key_selection_expression = "$request.header.x-api-key"
  tags                         = var.tags

  lifecycle {
    precondition {
      condition     = (var.target_url == null) != (var.function == null)
      error_message = "Set either target_url or function."
    }
  }
}

resource "aws_apigatewayv2_integration" "url" {
  for_each = var.target_url == null ? {} : local.routes

  api_id                 = aws_apigatewayv2_api.this.id
  description            = "sallyport ${each.key}"
  integration_type       = "HTTP_PROXY"
  integration_method     = "POST"
  integration_uri        = "${var.target_url}/${each.value}"
  connection_type        = "INTERNET"
  passthrough_behavior   = "WHEN_NO_MATCH"
  payload_format_version = "1.0"
  timeout_milliseconds   = 29000
  request_parameters = merge(local.context_headers, {
    "integration.request.header.x-sallyport-secret" = "'${random_password.secret[0].result}'"
  })
}

resource "aws_apigatewayv2_integration" "function" {
  for_each = var.function == null ? {} : local.routes

  api_id                 = aws_apigatewayv2_api.this.id
  description            = "sallyport ${each.key}"
  integration_type       = "AWS_PROXY"
  integration_method     = "POST"
  integration_uri        = "arn:${data.aws_partition.current.partition}:apigateway:${data.aws_region.current.id}:lambda:path/2015-03-31/functions/${var.function.arn}/invocations"
  connection_type        = "INTERNET"
  passthrough_behavior   = "WHEN_NO_MATCH"
  payload_format_version = "1.0"
  timeout_milliseconds   = 29000
}

resource "aws_apigatewayv2_route" "this" {
  for_each = local.routes

  api_id             = aws_apigatewayv2_api.this.id
  route_key          = each.key
  authorization_type = "NONE"
  target             = "integrations/${merge(aws_apigatewayv2_integration.url, aws_apigatewayv2_integration.function)[each.key].id}"

  route_response_selection_expression = contains(local.answered_routes, each.key) ? "$default" : null
}

resource "aws_apigatewayv2_route_response" "this" {
  for_each = local.answered_routes

  api_id             = aws_apigatewayv2_api.this.id
  route_id           = aws_apigatewayv2_route.this[each.key].id
  route_response_key = "$default"
}

resource "aws_apigatewayv2_deployment" "this" {
  api_id = aws_apigatewayv2_api.this.id

  triggers = {
    redeployment = sha1(jsonencode([
      aws_apigatewayv2_api.this.route_selection_expression,
      aws_apigatewayv2_integration.url,
      aws_apigatewayv2_integration.function,
      aws_apigatewayv2_route.this,
      aws_apigatewayv2_route_response.this,
    ]))
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_apigatewayv2_stage" "this" {
  api_id        = aws_apigatewayv2_api.this.id
  name          = var.stage
  deployment_id = aws_apigatewayv2_deployment.this.id
  tags          = var.tags

  dynamic "default_route_settings" {
    for_each = var.throttling == null ? [] : [var.throttling]

    content {
      throttling_rate_limit  = default_route_settings.value.rate_per_second
      throttling_burst_limit = default_route_settings.value.burst
    }
  }
}

resource "aws_lambda_permission" "api" {
  count = var.function == null ? 0 : 1

  function_name = var.function.arn
  action        = "lambda:InvokeFunction"
  principal     = "apigateway.amazonaws.com"
  source_arn    = "${local.call_arn}/*"
}

# Ends grants on time while no event arrives.
resource "aws_cloudwatch_event_rule" "each_minute" {
  count = var.function == null ? 0 : 1

  name_prefix         = "sallyport-"
  description         = "Ends grants on time at the gateway ${var.name}"
  schedule_expression = "rate(1 minute)"
}

resource "aws_cloudwatch_event_target" "each_minute" {
  count = var.function == null ? 0 : 1

  rule = aws_cloudwatch_event_rule.each_minute[0].name
  arn  = var.function.arn
}

resource "aws_lambda_permission" "each_minute" {
  count = var.function == null ? 0 : 1

  function_name = var.function.arn
  action        = "lambda:InvokeFunction"
  principal     = "events.amazonaws.com"
  source_arn    = aws_cloudwatch_event_rule.each_minute[0].arn
}

data "aws_iam_policy_document" "manage_connections" {
  statement {
    actions   = ["execute-api:ManageConnections"]
    resources = [for method in ["POST", "DELETE", "GET"] : "${local.call_arn}/${var.stage}/${method}/@connections/*"]
  }
}

resource "aws_iam_role_policy" "function" {
  count = var.function == null ? 0 : 1

  role   = var.function.role_name
  policy = data.aws_iam_policy_document.manage_connections.json
}
