config = {
    "name": "SendEmail",
    "description": "Send email with retries",
    "triggers": [
        {
            "type": "queue",
            "topic": "email.requested",
            "infrastructure": {
                "handler": {"timeout": 10},
                "queue": {"maxRetries": 5, "visibilityTimeout": 60}
            }
        }
    ],
    "enqueues": [],
    "flows": ["email"]
}
