import { handler, WebSocketView } from "sallyport";

export class SampleView extends WebSocketView {
  static signedIn = true;

  sample = handler(async ({ to }) => {
    // the sample
  });
}
