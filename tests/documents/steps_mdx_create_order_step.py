config = {
    "name": "CreateOrder",
    "description": "Creates a new order",
    "triggers": [
        {"type": "api", "path": "/orders", "method": "POST"}
    ],
    "enqueues": [],
    "flows": ["order-management"]
}
