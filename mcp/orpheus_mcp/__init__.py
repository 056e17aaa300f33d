"""The door for agents: MCP over HTTP in the server itself, and over stdio by way of that server."""
