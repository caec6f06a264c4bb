import requests
import os

API_URL = "http://localhost:8003/api"
VIRTUAL_KEY = os.environ["SAAS_LITELLM_VIRTUAL_KEY"]
TEAM_ID = os.environ["SAAS_LITELLM_TEAM_ID"]

headers = {
    "Authorization": f"Bearer {VIRTUAL_KEY}",
    "Content-Type": "application/json"
}

def multi_turn_conversation():
    """Multi-turn conversation with context"""

    # Create job
    job_response = requests.post(
        f"{API_URL}/jobs/create",
        headers=headers,
        json={"team_id": TEAM_ID, "job_type": "conversation"}
    )
    job_id = job_response.json()["job_id"]

    messages = []

    # Turn 1
    print("User: What is FastAPI?")
    messages.append({"role": "user", "content": "What is FastAPI?"})

    response1 = requests.post(
        f"{API_URL}/jobs/{job_id}/llm-call",
        headers=headers,
        json={"messages": messages}
    ).json()

    assistant_reply1 = response1["response"]["content"]
    print(f"Assistant: {assistant_reply1}\n")
    messages.append({"role": "assistant", "content": assistant_reply1})

    # Turn 2 - Builds on previous context
    print("User: How is it different from Flask?")
    messages.append({"role": "user", "content": "How is it different from Flask?"})

    response2 = requests.post(
        f"{API_URL}/jobs/{job_id}/llm-call",
        headers=headers,
        json={"messages": messages}
    ).json()

    assistant_reply2 = response2["response"]["content"]
    print(f"Assistant: {assistant_reply2}\n")

    # Complete job
    result = requests.post(
        f"{API_URL}/jobs/{job_id}/complete",
        headers=headers,
        json={"status": "completed"}
    ).json()

    print(f"Conversation complete. Credits remaining: {result['costs']['credits_remaining']}")

if __name__ == "__main__":
    multi_turn_conversation()
