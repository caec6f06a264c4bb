import requests
import os

API_URL = "http://localhost:8003/api"
VIRTUAL_KEY = os.environ["SAAS_LITELLM_VIRTUAL_KEY"]
TEAM_ID = os.environ["SAAS_LITELLM_TEAM_ID"]

headers = {
    "Authorization": f"Bearer {VIRTUAL_KEY}",
    "Content-Type": "application/json"
}

def batch_classify(texts: list):
    """Classify multiple texts in one job"""

    # Create job
    job_response = requests.post(
        f"{API_URL}/jobs/create",
        headers=headers,
        json={
            "team_id": TEAM_ID,
            "job_type": "batch_classification",
            "metadata": {"count": len(texts)}
        }
    )
    job_id = job_response.json()["job_id"]

    results = []

    # Process each text
    for i, text in enumerate(texts, 1):
        print(f"Classifying text {i}/{len(texts)}...")

        response = requests.post(
            f"{API_URL}/jobs/{job_id}/llm-call",
            headers=headers,
            json={
                "messages": [
                    {
                        "role": "system",
                        "content": "Classify sentiment as positive, negative, or neutral."
                    },
                    {
                        "role": "user",
                        "content": text
                    }
                ],
                "temperature": 0.3
            }
        ).json()

        classification = response["response"]["content"].strip().lower()
        results.append({
            "text": text,
            "sentiment": classification
        })

    # Complete job
    complete_response = requests.post(
        f"{API_URL}/jobs/{job_id}/complete",
        headers=headers,
        json={"status": "completed"}
    ).json()

    print(f"\nBatch complete!")
    print(f"Processed {len(texts)} texts")
    print(f"Credits remaining: {complete_response['costs']['credits_remaining']}")

    return results

if __name__ == "__main__":
    texts = [
        "This product is amazing! I love it.",
        "Terrible experience. Would not recommend.",
        "It's okay, nothing special.",
    ]

    results = batch_classify(texts)

    print("\nResults:")
    for result in results:
        print(f"  '{result['text']}' → {result['sentiment']}")
